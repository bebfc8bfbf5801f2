import { type ChildProcess, spawn } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const BINS = {
  holdfast: fileURLToPath(import.meta.resolve('#src/cli/main.js')),
  runzeo: fileURLToPath(import.meta.resolve('#src/cli/runzeo.js')),
} as const;

const READY_MS = 20_000;
const EXIT_MS = 20_000;

/** How a program ended. */
export interface Exit {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
}

/** A process of ours that runs one of holdfast's programs. */
export class Program {
  readonly child: ChildProcess;
  readonly exited: Promise<Exit>;
  stdout = '';
  stderr = '';
  readonly #onOutput = new Set<() => void>();

  constructor(file: string, args: readonly string[], options: { cwd: string; env?: Readonly<Record<string, string>> }) {
    this.child = spawn(process.execPath, [file, ...args], {
      cwd: options.cwd,
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { ...process.env, UV_THREADPOOL_SIZE: '16', ZC_ASYNC_UUID: '', ...options.env },
    });
    for (const name of ['stdout', 'stderr'] as const) {
      this.child[name]?.setEncoding('utf8').on('data', (text: string) => {
        this[name] += text;
        for (const fn of this.#onOutput) fn();
      });
    }
    // `close` comes after the last output.
    this.exited = new Promise((resolve) => {
      this.child.once('close', (code, signal) => {
        resolve({ code, signal });
        for (const fn of this.#onOutput) fn();
      });
    });
  }

  get pid(): number {
    return this.child.pid as number;
  }

  get hasEnded(): boolean {
    return this.child.exitCode !== null || this.child.signalCode !== null;
  }

  /** Resolves with the match once the output contains it; rejects when the program ends first, or time is up. */
  output(pattern: RegExp, stream: 'stdout' | 'stderr' = 'stdout', limitMs = READY_MS): Promise<RegExpExecArray> {
    return new Promise((resolve, reject) => {
      const finish = (fn: () => void) => {
        clearTimeout(timer);
        this.#onOutput.delete(look);
        fn();
      };
      const look = () => {
        const match = pattern.exec(this[stream]);
        if (match) finish(() => resolve(match));
        else if (this.hasEnded) finish(() => reject(new Error(`it ended before it said ${pattern}: ${this.stderr}`)));
      };
      const timer = setTimeout(
        () => finish(() => reject(new Error(`it did not say ${pattern} in time: ${this.stdout}\n${this.stderr}`))),
        limitMs,
      );
      this.#onOutput.add(look);
      look();
    });
  }

  /** Sends a signal; resolves once the process has ended. Rejects when it does not end in time. */
  async end(signal: NodeJS.Signals = 'SIGTERM', limitMs = EXIT_MS): Promise<Exit> {
    this.child.kill(signal);
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<never>((_, reject) => {
      timer = setTimeout(() => reject(new Error(`it does not end after ${signal}: ${this.stderr}`)), limitMs);
    });
    try {
      return await Promise.race([this.exited, late]);
    } finally {
      clearTimeout(timer);
    }
  }
}

/** A fresh directory, and the programs that were started in it; both are gone when it is disposed of. */
export class Site {
  readonly directory = mkdtempSync(join(tmpdir(), 'holdfast-site-'));
  readonly #programs: Program[] = [];

  /** A directory below, which is made. */
  folder(name: string): string {
    const path = join(this.directory, name);
    mkdirSync(path, { recursive: true });
    return path;
  }

  /** Starts a program; `cwd` is a name below the site's directory. */
  start(
    bin: keyof typeof BINS,
    args: readonly string[],
    options: { cwd?: string; env?: Readonly<Record<string, string>> } = {},
  ): Program {
    return this.startFile(BINS[bin], args, options);
  }

  /** Starts a module of the user's with Node. */
  startFile(
    file: string,
    args: readonly string[],
    options: { cwd?: string; env?: Readonly<Record<string, string>> } = {},
  ): Program {
    const program = new Program(file, args, { ...options, cwd: this.folder(options.cwd ?? '.') });
    this.#programs.push(program);
    return program;
  }

  /** Starts a storage server; resolves, once it serves, to it and its address. */
  async server(options: { port?: number; file?: string; args?: readonly string[] } = {}): Promise<{
    program: Program;
    address: string;
    port: number;
  }> {
    const { port = 0, file = 'test.fs', args = [] } = options;
    const program = this.start('runzeo', ['-a', `127.0.0.1:${port}`, '-f', join(this.directory, file), ...args]);
    const [, chosen] = await program.output(/127\.0\.0\.1:(\d+)/);
    return { program, address: `127.0.0.1:${chosen}`, port: Number(chosen) };
  }

  /** Starts a worker in a directory of its own; resolves once it serves. */
  async worker(
    name: string,
    args: readonly string[],
    options: { env?: Readonly<Record<string, string>> } = {},
  ): Promise<Program> {
    const program = this.start('holdfast', ['worker', ...args], { cwd: name, ...options });
    await program.output(/\(pid \d+\)/);
    return program;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const program of this.#programs.reverse()) {
      if (!program.hasEnded) program.child.kill('SIGKILL');
      await program.exited;
    }
    rmSync(this.directory, { recursive: true, force: true });
  }
}
