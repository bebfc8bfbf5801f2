import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, test } from 'node:test';
import { LockFile, LockFileHeldError, type Machine, thisMachine } from '#src/base/index.js';

let folder: string;
let path: string;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'holdfast-lock-'));
  path = join(folder, 'test.lock');
});

afterEach(() => {
  rmSync(folder, { recursive: true, force: true });
});

/** A machine with processes: their start times by pid. */
class TestMachine implements Machine {
  readonly processes = new Map<number, string>();

  constructor(
    readonly host: string,
    public bootId: string,
    public pid: number,
  ) {}

  startTimeOf(pid: number): string | undefined {
    return this.processes.get(pid);
  }
}

/** As another process of a machine sees it. */
function as(pid: number, machine: TestMachine): TestMachine {
  const other = new TestMachine(machine.host, machine.bootId, pid);
  for (const [each, startTime] of machine.processes) other.processes.set(each, startTime);
  return other;
}

function twoProcesses(): readonly [TestMachine, TestMachine] {
  const machine = new TestMachine('here', 'boot 1', 100);
  machine.processes.set(100, '5000').set(200, '6000');
  return [machine, as(200, machine)];
}

test('while the process that holds it lives, it is held; once it is given up, it is free', () => {
  const [one, two] = twoProcesses();
  const lock = LockFile.acquire(path, one);
  for (const machine of [one, two]) {
    assert.throws(
      () => LockFile.acquire(path, machine),
      (error: unknown) => {
        assert.ok(error instanceof LockFileHeldError);
        assert.equal(error.code, 'BASE_LOCK_FILE_HELD');
        assert.deepEqual(error.holder, { host: 'here', bootId: 'boot 1', pid: 100, startTime: '5000' });
        return true;
      },
    );
    assert.equal(LockFile.holder(path, machine)?.pid, 100);
  }
  lock.release();
  lock.release();
  assert.equal(LockFile.holder(path, two), undefined);
  LockFile.acquire(path, two).release();
  assert.deepEqual(readdirSync(folder), []);
});

test('one of a process that is gone is taken over', () => {
  const [one, two] = twoProcesses();
  LockFile.acquire(path, one);
  two.processes.delete(100);
  assert.equal(LockFile.holder(path, two), undefined);
  const lock = LockFile.acquire(path, two);
  assert.equal(LockFile.holder(path, two)?.pid, 200);
  lock.release();
});

test('one whose pid another process has by now is taken over', () => {
  const [one, two] = twoProcesses();
  LockFile.acquire(path, one);
  two.processes.set(100, '7000');
  LockFile.acquire(path, two).release();
});

test('one of an earlier boot is taken over, though a process with that pid and that start time lives', () => {
  const [one, two] = twoProcesses();
  LockFile.acquire(path, one);
  two.bootId = 'boot 2';
  LockFile.acquire(path, two).release();
});

test('one of another machine is never taken for left behind', () => {
  const [one] = twoProcesses();
  LockFile.acquire(path, one);
  const elsewhere = new TestMachine('there', 'boot 9', 100);
  assert.throws(() => LockFile.acquire(path, elsewhere), LockFileHeldError);
});

test('one that says nothing, as a crash of the machine may leave it, is taken over', () => {
  const [one] = twoProcesses();
  for (const text of [
    '',
    '{',
    '{}',
    'null',
    '\0\0\0\0',
    '{"host":"here","bootId":"boot 1","pid":"100","startTime":"1"}',
  ]) {
    writeFileSync(path, text);
    assert.equal(LockFile.holder(path, one), undefined);
    LockFile.acquire(path, one).release();
  }
});

test('one that somebody else has taken over is not taken away by who believed to hold it', () => {
  const [one, two] = twoProcesses();
  const lost = LockFile.acquire(path, one);
  two.processes.delete(100);
  LockFile.acquire(path, two);
  lost.release();
  assert.equal(LockFile.holder(path, two)?.pid, 200);
});

test('what is found stale, and was taken over meanwhile by another, is left to that one', () => {
  const [one, two] = twoProcesses();
  LockFile.acquire(path, one);
  // A third one takes it over between the look and the taking away.
  const third = as(300, two);
  third.processes.delete(100);
  third.processes.set(300, '8000');
  let isTaken = false;
  const slow: Machine = {
    ...{ host: two.host, bootId: two.bootId, pid: two.pid },
    startTimeOf: (pid) => {
      if (pid === 100 && !isTaken) {
        isTaken = true;
        LockFile.acquire(path, third);
      }
      return third.startTimeOf(pid);
    },
  };
  assert.throws(
    () => LockFile.acquire(path, slow),
    (error: unknown) => error instanceof LockFileHeldError && error.holder.pid === 300,
  );
  assert.equal(LockFile.holder(path, third)?.pid, 300);
  assert.deepEqual(readdirSync(folder), ['test.lock']);
});

test('two spellings of one path are one lock', () => {
  const [one, two] = twoProcesses();
  LockFile.acquire(join(folder, '.', 'test.lock'), one);
  assert.throws(() => LockFile.acquire(`${folder}/../${folder.split('/').at(-1)}/test.lock`, two), LockFileHeldError);
});

test('this machine tells its own process from others, also from ones that are gone or were never waited for', async (t) => {
  const startTime = thisMachine.startTimeOf(process.pid);
  assert.ok(startTime);
  assert.equal(thisMachine.startTimeOf(process.pid), startTime);
  assert.equal(thisMachine.startTimeOf(2 ** 30), undefined);
  if (!existsSync('/proc/self/stat')) return t.diagnostic('start times are told by Linux alone');
  assert.match(startTime, /^\d+$/);
  // A child of a process that never waits for it stays, dead, until that one ends.
  const parent = spawn('sh', ['-c', 'sleep 0 & echo $!; exec sleep 60'], { stdio: ['ignore', 'pipe', 'ignore'] });
  try {
    let text = '';
    for await (const chunk of parent.stdout) {
      text += chunk;
      if (text.includes('\n')) break;
    }
    const pid = Number(text);
    const stateOf = () => readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1]?.[0];
    while (stateOf() !== 'Z') await new Promise((resolve) => setImmediate(resolve));
    assert.equal(thisMachine.startTimeOf(pid), undefined);
  } finally {
    parent.kill('SIGKILL');
  }
});
