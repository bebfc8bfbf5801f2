import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as jobs from 'holdfast/async';
import * as odb from 'holdfast/odb';
import * as zeo from 'holdfast/zeo';

type ErrorClass = typeof odb.BaseError;

/** The classes of errors that users can catch, and where they come from. */
const classes = Object.entries({ ODB: odb, ZEO: zeo, ASYNC: jobs }).flatMap(([door, names]) =>
  Object.values<unknown>({ ...names })
    .filter((each): each is ErrorClass => typeof each === 'function' && each.prototype instanceof odb.BaseError)
    .filter((cls) => cls !== (odb.TransactionError as ErrorClass))
    .map((cls) => [door, cls] as const),
);

/** Without its constructor, which wants the facts. */
const sampleOf = (cls: ErrorClass) => Object.create(cls.prototype as object) as odb.BaseError;

test('what to do about an error is said by its class: conflicts are run again now, what is not there for now later, all else never', () => {
  const said = (retry: odb.Retry) =>
    classes
      .filter(([, cls]) => sampleOf(cls).retry === retry)
      .map(([, { name }]) => name)
      .sort();
  assert.deepEqual(said('now'), ['ConflictError', 'ReadConflictError']);
  assert.deepEqual(said('later'), ['ClientDisconnected', 'StorageLockedError', 'TransactionInDoubtError']);
  assert.ok(said('never').length > 30);
  for (const error of [new Error('x'), new TypeError('x'), 'text', undefined])
    assert.equal(odb.retryOf(error), 'never');
});

test('errors of transactions, of storages and of their kinds can be caught together', () => {
  const kinds: [ErrorClass, ErrorClass[]][] = [
    [
      odb.TransactionError as ErrorClass,
      [odb.ConflictError, odb.ReadConflictError, odb.TransactionFailedError, odb.DoomedTransaction] as never,
    ],
    [odb.ConflictError as never, [odb.ReadConflictError] as never],
    [
      odb.StorageError as never,
      [
        odb.ReadOnlyError,
        odb.UndoError,
        odb.CorruptionError,
        odb.ClientDisconnected,
        odb.CommitUncertainError,
      ] as never,
    ],
    [odb.ReadOnlyError as never, [odb.ReadOnlyHistoryError] as never],
  ];
  for (const [kind, members] of kinds) {
    for (const cls of members) assert.ok(sampleOf(cls) instanceof kind, `${cls.name} is a ${kind.name}`);
  }
});

test('an error has its name, its facts, and what caused it', () => {
  const cause = new Error('below');
  const facts = {
    oid: 3 as odb.Oid,
    className: 'a.B',
    baseSerial: 1 as odb.Tid,
    committedSerial: 2 as odb.Tid,
    reason: 'no',
  };
  const error = new odb.ConflictError(facts, { cause });
  const { oid, className, baseSerial, committedSerial, reason } = error;
  assert.deepEqual({ oid, className, baseSerial, committedSerial, reason }, facts);
  assert.deepEqual([error.name, error.code, error.cause], ['ConflictError', 'ODB_CONFLICT', cause]);
  for (const part of ['a.B', '3', '1', '2', 'no']) assert.ok(error.message.includes(part), part);
});
