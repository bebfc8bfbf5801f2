import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import type { ServerStats } from '#src/zeo/index.js';

interface Options {
  readonly path?: string;
  readonly address?: string;
  /** What it merges. Default: nothing, so that its clients have to. */
  readonly merges?: 'texts' | 'records';
  readonly invalidationQueueSize?: number;
  readonly readOnly?: boolean;
  readonly maxFrame?: string;
}

/** A server in a process of its own. */
export class ServerProgram {
  readonly child: ChildProcess;
  readonly address: string;
  readonly lines: { readonly level: string; readonly message: string }[] = [];

  private constructor(child: ChildProcess, address: string) {
    this.child = child;
    this.address = address;
    child.on('message', (message: { kind: string; level: string; message: string }) => {
      if (message.kind === 'log') this.lines.push(message);
    });
  }

  static async start(options: Options = {}): Promise<ServerProgram> {
    const file = fileURLToPath(new URL('./server-process.js', import.meta.url));
    const child = fork(file, [JSON.stringify(options)], { execArgv: ['--enable-source-maps'] });
    const { address } = await answer(child, 'ready');
    return new ServerProgram(child, address);
  }

  async stats(): Promise<ServerStats> {
    this.child.send({ kind: 'stats' });
    return (await answer(this.child, 'stats')).stats;
  }

  /** Keeps the server from doing anything for a while. */
  async block(ms: number): Promise<void> {
    this.child.send({ kind: 'block', ms });
    await answer(this.child, 'blocking');
  }

  /** Ends it in order. */
  async close(): Promise<void> {
    if (this.child.exitCode !== null || this.child.signalCode !== null) return;
    const exited = once(this.child, 'exit');
    this.child.send({ kind: 'close' });
    await exited;
  }

  /** Ends it at once. */
  async kill(): Promise<void> {
    if (this.child.exitCode !== null || this.child.signalCode !== null) return;
    const exited = once(this.child, 'exit');
    this.child.kill('SIGKILL');
    await exited;
  }
}

type Answer = { kind: string; address: string; stats: ServerStats };

function answer(child: ChildProcess, kind: string): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const onMessage = (message: Answer) => {
      if (message.kind !== kind) return;
      done();
      resolve(message);
    };
    const onExit = (code: number | null) => {
      done();
      reject(new Error(`the server process ended (${code}) before it answered '${kind}'`));
    };
    const done = () => {
      child.off('message', onMessage);
      child.off('exit', onExit);
    };
    child.on('message', onMessage);
    child.on('exit', onExit);
  });
}
