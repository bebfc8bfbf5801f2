// Watches over the other program.
import { fileURLToPath } from 'node:url';
import { runWatched } from '#src/cli/watched.js';

process.exit(
  await runWatched({
    file: fileURLToPath(new URL('./watched-program.js', import.meta.url)),
    args: process.argv.slice(2),
    program: 'holdfast verify',
    reads: 'shop.fs',
  }),
);
