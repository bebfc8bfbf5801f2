import assert from 'node:assert/strict';
import { test } from 'node:test';
import { DB, Persistent, TransactionManager, transaction } from 'holdfast/odb';

/** A call with a wrong argument, and the code of its error. */
type Wrong = [call: (db: DB) => unknown, code: string];

const wrong: Record<string, Wrong[]> = {
  'an option that there is not': [
    [(db) => db.open({ transactionManger: new TransactionManager() } as never), 'ARG_OPTIONS'],
    [(db) => db.open(null as never), 'ARG_OPTIONS'],
    [(db) => db.open('memory:' as never), 'ARG_OPTIONS'],
    [(db) => db.transaction(() => 1, { retry: 3 } as never), 'ARG_OPTIONS'],
    [() => transaction.run(() => 1, { tries: 3 } as never), 'ARG_OPTIONS'],
    [() => new TransactionManager({ implicit: true } as never), 'ARG_OPTIONS'],
    [() => transaction.isolate(() => 1, { explict: true } as never), 'ARG_OPTIONS'],
    [(db) => db.pack({ day: 3 } as never), 'ARG_OPTIONS'],
  ],
  'what is no function': [
    [(db) => db.transaction('fn' as never), 'ARG_FUNCTION'],
    [() => transaction.run(undefined as never), 'ARG_FUNCTION'],
    [() => transaction.isolate(5 as never), 'ARG_FUNCTION'],
    [() => transaction.addBeforeCommitHook(5 as never), 'ARG_FUNCTION'],
    [() => transaction.addAfterCommitHook({} as never), 'ARG_FUNCTION'],
    [() => transaction.addBeforeAbortHook(null as never), 'ARG_FUNCTION'],
    [() => transaction.addAfterAbortHook('x' as never), 'ARG_FUNCTION'],
    [(db) => db.open().onCloseCallback(5 as never), 'ARG_FUNCTION'],
  ],
  'what is no number of tries': [
    [() => transaction.run(() => 1, { retries: -1 }), 'ARG_RETRIES'],
    [() => transaction.run(() => 1, { retries: 'often' as never }), 'ARG_RETRIES'],
    [() => transaction.attempts(0).next(), 'ARG_RETRIES'],
    [() => transaction.attempts(Number.NaN).next(), 'ARG_RETRIES'],
  ],
  'what is no participant, synchronizer, manager, user or note': [
    [() => transaction.join({ sortKey: () => 'x' } as never), 'ARG_PARTICIPANT'],
    [() => transaction.join(undefined as never), 'ARG_PARTICIPANT'],
    [() => transaction.registerSynch({} as never), 'ARG_SYNCHRONIZER'],
    [(db) => db.open({ transactionManager: transaction as never }), 'ARG_TRANSACTION_MANAGER'],
    [() => transaction.setUser(5 as never), 'ARG_USER'],
    [() => transaction.setUser('ada', null as never), 'ARG_USER'],
    [() => transaction.note(5 as never), 'ARG_NOTE'],
  ],
  'what is no oid, and no persistent object': [
    [(db) => db.open().get(-1), 'ARG_OID'],
    [(db) => db.open().get(1.5), 'ARG_OID'],
    [(db) => db.open().get('1' as never), 'ARG_OID'],
    [(db) => db.open().add({} as never), 'ARG_PERSISTENT'],
    [(db) => db.open().add(Persistent as never), 'ARG_PERSISTENT'],
    [(db) => db.open().readCurrent(undefined as never), 'ARG_PERSISTENT'],
    [(db) => db.open().prefetch('1' as never), 'ARG_PREFETCH'],
    [(db) => db.open().each(5 as never), 'ARG_ITERABLE'],
  ],
  'what cannot be undone, looked for in the log, or kept by a pack': [
    [(db) => db.undo('1' as never), 'ARG_TID'],
    [(db) => db.undo(undefined as never), 'ARG_TID'],
    [(db) => db.undoMultiple(5 as never), 'ARG_TID'],
    [(db) => db.undoMultiple('12' as never), 'ARG_TID'],
    [(db) => db.undoMultiple([1, null] as never), 'ARG_TID'],
    [(db) => db.undo(db.lastTransaction(), {} as never), 'ARG_TRANSACTION'],
    [(db) => db.undo(db.lastTransaction(), transaction as never), 'ARG_TRANSACTION'],
    [(db) => db.undoLog(-1), 'ARG_RANGE'],
    [(db) => db.undoLog('a' as never), 'ARG_RANGE'],
    [(db) => db.undoLog(0.5), 'ARG_RANGE'],
    [(db) => db.undoLog(0, Number.NaN), 'ARG_RANGE'],
    [(db) => db.undoLog(0, -20, 'ada' as never), 'ARG_FUNCTION'],
    [(db) => db.undoInfo(0, -20, null as never), 'ARG_OPTIONS'],
    [(db) => db.undoInfo(0, -20, { note: 'tea' } as never), 'ARG_OPTIONS'],
    [(db) => db.history('0' as never), 'ARG_OID'],
    [(db) => db.history(0, -1), 'ARG_COUNT'],
    [(db) => db.history(0, Number.NaN), 'ARG_COUNT'],
    [(db) => db.history(0, '3' as never), 'ARG_COUNT'],
    [(db) => db.pack({ before: '2020-01-01' as never }), 'ARG_DATE'],
    [(db) => db.pack({ before: new Date(Number.NaN) }), 'ARG_DATE'],
    [(db) => db.pack({ days: -1 }), 'ARG_DAYS'],
    [(db) => db.pack({ days: '3' as never }), 'ARG_DAYS'],
    [(db) => db.pack({ days: 3, before: new Date() }), 'ARG_DAYS'],
  ],
};

for (const [what, calls] of Object.entries(wrong)) {
  test(`${what} is refused with an error of the language that has a code, and changes nothing`, () =>
    transaction.isolate(async () => {
      await using db = await DB.open('memory:');
      for (const [call, code] of calls) {
        await assert.rejects(
          async () => call(db),
          (error: Error & { code: string }) => {
            assert.ok(error instanceof TypeError || error instanceof RangeError, `${call}: ${error}`);
            assert.equal(error.code, code, String(call));
            return true;
          },
        );
      }
      assert.equal(await transaction.commit(), undefined);
    }));
}
