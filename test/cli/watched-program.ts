// Ends as its argument says: by an exit code, or by a signal; or waits for one that it is sent.
const [how = ''] = process.argv.slice(2);
if (/^\d+$/.test(how)) process.exit(Number(how));
if (how === 'abort') process.abort();
for (const signal of ['SIGINT', 'SIGTERM'] as const) {
  process.once(signal, () => {
    process.stdout.write(`told ${signal}\n`);
    process.exit(7);
  });
}
process.stdout.write('waiting\n');
setInterval(() => {}, 1000);
