import { readFileSync } from 'node:fs';
import { Command } from 'commander';
import { copyCommand } from './commands/copy.js';
import { dumpCommand } from './commands/dump.js';
import { exportCommand } from './commands/export.js';
import { importCommand } from './commands/import.js';
import { packCommand } from './commands/pack.js';
import { statsCommand } from './commands/stats.js';
import { verifyCommand } from './commands/verify.js';
import { workerCommand } from './commands/worker.js';
import { zeoCommand } from './commands/zeo.js';
import { allSaid, EXIT, report } from './output.js';

/** What a command does once its arguments are read; resolves to the exit code. */
export type CommandAction = () => Promise<number>;

/**
 * Runs a command line, and resolves to the exit code: 0 done, 1 failed, 2 a mistake in the command line, 130 and 143
 * told to end by SIGINT and SIGTERM. Whatever goes wrong is said in one line on standard error.
 *
 * @param program the name of the bin: `runzeo` is short for `holdfast zeo`.
 * @param args the arguments after the name.
 */
export async function run(program: 'holdfast' | 'runzeo', args: readonly string[]): Promise<number> {
  const code = await runCommand(program, args);
  // One that was told to end waits for no reader.
  if (code < EXIT.signalled) await allSaid();
  return code;
}

async function runCommand(program: 'holdfast' | 'runzeo', args: readonly string[]): Promise<number> {
  // A reader of our output that goes away is no reason to stop the work.
  for (const stream of [process.stdout, process.stderr]) stream.on('error', () => {});
  const chosen: { action?: CommandAction; program: string } = { program };
  const choose = (name: string) => (action: CommandAction) => {
    chosen.action = action;
    chosen.program = name;
  };
  const root =
    program === 'runzeo'
      ? zeoCommand('runzeo', choose('runzeo'))
      : new Command('holdfast')
          .description('Objects and jobs that hold fast: storage servers, workers, and tools for databases.')
          .addHelpText(
            'after',
            '\nExit codes: 0 done, 1 failed, 2 a mistake in the command line, 130 and 143 ended by SIGINT and SIGTERM.',
          )
          .addCommand(zeoCommand('zeo', choose('holdfast zeo')))
          .addCommand(workerCommand(choose('holdfast worker')))
          .addCommand(packCommand(choose('holdfast pack')))
          .addCommand(verifyCommand(choose('holdfast verify')))
          .addCommand(statsCommand(choose('holdfast stats')))
          .addCommand(dumpCommand(choose('holdfast dump')))
          .addCommand(copyCommand(choose('holdfast copy')))
          .addCommand(exportCommand(choose('holdfast export')))
          .addCommand(importCommand(choose('holdfast import')));
  root.version(readVersion(), '-V, --version', 'print the version');
  settle(root);
  try {
    if (args.length === 0 && program === 'holdfast') {
      root.outputHelp();
      return EXIT.usage;
    }
    await root.parseAsync([...args], { from: 'user' });
    return (await chosen.action?.()) ?? EXIT.ok;
  } catch (error) {
    // A mistake in the command line is found before a command is chosen.
    return report(chosen.action ? chosen.program : programOf(root, args), error);
  }
}

/** Commander is to throw, not to print and exit: what is said, and how the process ends, is decided in one place. */
function settle(command: Command): void {
  command.exitOverride().configureOutput({ writeErr: () => {} });
  for (const sub of command.commands) settle(sub);
}

function programOf(root: Command, args: readonly string[]): string {
  const sub = root.commands.find((command) => command.name() === args[0]);
  return sub ? `${root.name()} ${sub.name()}` : root.name();
}

function readVersion(): string {
  const { version } = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8')) as {
    version: string;
  };
  return version;
}
