// Writes the reference of all doors of the package, from its built declarations and their comments, into build/reference. It fails where
// something exported has no comment, or a link in one leads nowhere; with --check, that is all it does. What would be shown otherwise than it was
// meant is told, no more.

import { spawnSync } from 'node:child_process';
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Extractor, ExtractorConfig } from '@microsoft/api-extractor';

const root = fileURLToPath(new URL('..', import.meta.url));
const models = join(root, 'build', 'reference-models');
const target = join(root, 'build', 'reference');
const { exports } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));

rmSync(models, { recursive: true, force: true });
/** What was found, and whether it is a failure. */
const found = new Map();
for (const [door, { types }] of Object.entries(exports)) if (types) extract(door.slice(2), types);
for (const file of readdirSync(models)) lookThrough(JSON.parse(readFileSync(join(models, file), 'utf8')));
for (const line of [...found.keys()].sort()) console.error(line);
if ([...found.values()].includes(true)) process.exitCode = 1;
else if (!process.argv.includes('--check')) writePages();

/** Writes the model of one door, and notes what is wrong with it. */
function extract(door, types) {
  // A scope, since names of packages have no slash: it is taken away again when the pages are written.
  const name = door === '' ? 'holdfast' : `@holdfast/${door}`;
  const quiet = { logLevel: 'none' };
  const configObject = {
    projectFolder: root,
    mainEntryPointFilePath: join(root, types),
    compiler: { overrideTsconfig: tsconfig(types), skipLibCheck: true },
    docModel: { enabled: true, apiJsonFilePath: join(models, `${door || 'holdfast'}.api.json`) },
    apiReport: { enabled: false },
    dtsRollup: { enabled: false },
    tsdocMetadata: { enabled: false },
    messages: {
      compilerMessageReporting: { default: { logLevel: 'error' } },
      extractorMessageReporting: {
        default: { logLevel: 'warning' },
        // Ours are all public; what begins with an underscore is so by tradition.
        'ae-missing-release-tag': quiet,
        'ae-internal-missing-underscore': quiet,
        'ae-forgotten-export': quiet,
        'ae-setter-with-docs': quiet,
      },
      tsdocMessageReporting: {
        default: { logLevel: 'warning' },
        'tsdoc-param-tag-missing-hyphen': quiet,
        // A property of a parameter: `options.signal`.
        'tsdoc-param-tag-with-invalid-name': quiet,
      },
    },
  };
  const config = ExtractorConfig.prepare({
    configObject,
    configObjectFullPath: undefined,
    packageJsonFullPath: join(root, 'package.json'),
    packageJson: { name, version: '0.0.0' },
  });
  mkdirSync(models, { recursive: true });
  Extractor.invoke(config, {
    localBuild: true,
    messageCallback(message) {
      message.handled = true;
      if (message.logLevel !== 'warning' && message.logLevel !== 'error') return;
      // A link to one of several declarations of a name leads somewhere, if not to which of them.
      if (message.text.includes('The reference is ambiguous')) return;
      const where = message.sourceFilePath
        ? `${message.sourceFilePath.slice(root.length)}:${message.sourceFileLine}`
        : door;
      found.set(`${where}: ${message.text} (${message.messageId})`, !message.messageId.startsWith('tsdoc-'));
    },
  });
}

function tsconfig(types) {
  const { compilerOptions } = JSON.parse(readFileSync(join(root, 'tsconfig.base.json'), 'utf8'));
  return { compilerOptions: { ...compilerOptions, composite: false, noEmit: true }, files: [types] };
}

/** Notes what is exported and has no comment. Members may speak for themselves. */
function lookThrough(model) {
  for (const { kind, name, docComment, fileUrlPath } of model.members[0].members) {
    if (docComment === '')
      found.set(`${fileUrlPath}: ${kind.toLowerCase()} ${name} is exported, and has no comment`, true);
  }
}

/** Turns the models into pages of Markdown. */
function writePages() {
  rmSync(target, { recursive: true, force: true });
  const documenter = join(root, 'node_modules', '@microsoft', 'api-documenter', 'bin', 'api-documenter');
  const { status, stdout, stderr } = spawnSync(
    process.execPath,
    [documenter, 'markdown', '--input-folder', models, '--output-folder', target],
    { cwd: root, encoding: 'utf8' },
  );
  if (status !== 0) throw new Error(`the pages could not be written:\n${stdout}${stderr}`);
  for (const name of readdirSync(target)) {
    const page = join(target, name);
    writeFileSync(page, readFileSync(page, 'utf8').replaceAll('@holdfast/', 'holdfast/'));
  }
  console.log(`${relative(process.cwd(), join(target, 'index.md'))}: ${readdirSync(target).length} pages`);
}
