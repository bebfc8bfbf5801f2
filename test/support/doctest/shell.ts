import { type ChildProcess, spawn } from 'node:child_process';
import { within } from './session.js';

const COMMAND_LIMIT_MS = 60_000;
const READY_LIMIT_MS = 60_000;
const END_LIMIT_MS = 20_000;

/** The shell of a document: one for all its blocks, with jobs in the background. */
export class Shell {
  readonly #bash: ChildProcess;
  readonly #exited: Promise<void>;
  #output = '';
  #commandCount = 0;
  #look = () => {};

  constructor(cwd: string) {
    this.#bash = spawn('bash', ['--noprofile', '--norc'], {
      cwd,
      stdio: ['pipe', 'pipe', 'ignore'],
      env: {
        ...process.env,
        NODE_TEST_CONTEXT: undefined,
        npm_config_update_notifier: 'false',
        npm_config_loglevel: 'error',
      },
    });
    this.#bash.stdout?.setEncoding('utf8').on('data', (text: string) => {
      this.#output += text;
      this.#look();
    });
    this.#exited = new Promise((resolve) => {
      this.#bash.once('exit', () => {
        resolve();
        this.#look();
      });
    });
    // Jobs in process groups of their own, as in a shell that somebody types in; and their errors among the output.
    this.#write('set -m; exec 2>&1');
  }

  /** Runs the commands of a block, each beginning with `$ `, and compares what they print. */
  async run(code: string): Promise<void> {
    const parts = code.split(/^\$ /m);
    if (parts[0]?.trim() !== '') throw new Error("a block of commands begins with '$ '");
    for (const part of parts.slice(1)) {
      const [command = '', ...expected] = part.trimEnd().split('\n');
      await this.#command(command.trim(), expected);
    }
  }

  async #command(command: string, expected: readonly string[]): Promise<void> {
    const start = this.#output.length;
    const mark = `__command ${++this.#commandCount} ended with`;
    this.#write(`${command}\necho "${mark} $?"`);
    const end = new RegExp(`^${mark} (\\d+)\\n`, 'm');
    const [, status] = await this.#sees(end, start, COMMAND_LIMIT_MS, command);
    const isBackground = command.endsWith('&');
    // A program in the background is ready when it says its process id.
    if (isBackground) await this.#sees(/\(pid \d+\)/, start, READY_LIMIT_MS, command);
    const printed = this.#output.slice(start).replace(end, '');
    if (status !== '0') throw new Error(`$ ${command}\nended with status ${status}:\n${printed}`);
    let rest = printed.split('\n');
    for (const line of expected) {
      const pattern = new RegExp(`^${line.split('…').map(escapeRegExp).join('.*')}$`);
      const at = rest.findIndex((each) => pattern.test(each));
      if (at < 0) throw new Error(`$ ${command}\nprinted no line\n${line}\nbut\n${printed}`);
      rest = rest.slice(at + 1);
    }
  }

  #sees(pattern: RegExp, start: number, limitMs: number, command: string): Promise<RegExpExecArray> {
    const seen = new Promise<RegExpExecArray>((resolve, reject) => {
      this.#look = () => {
        const match = pattern.exec(this.#output.slice(start));
        if (match) resolve(match);
        else if (this.#bash.exitCode !== null) reject(new Error(`the shell ended:\n${this.#output.slice(start)}`));
      };
      this.#look();
    });
    return within(seen, limitMs, () => `$ ${command}\ndid not print ${pattern} in time:\n${this.#output.slice(start)}`);
  }

  #write(line: string): void {
    this.#bash.stdin?.write(`${line}\n`);
  }

  /** Ends the shell and what it runs in the background. */
  async end(): Promise<void> {
    this.#write('jobs -p | xargs -r -n1 -I{} kill -TERM -- -{}; wait; exit');
    try {
      await within(this.#exited, END_LIMIT_MS, () => 'the shell does not end');
    } catch {
      for (const [, pid] of this.#output.matchAll(/\(pid (\d+)\)/g)) end(Number(pid));
      this.#bash.kill('SIGKILL');
      await this.#exited;
    }
  }
}

function end(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch {
    // It is gone.
  }
}

function escapeRegExp(text: string): string {
  return text.replace(/[.*+?^${}()|[\]\\]/g, '\\$&');
}
