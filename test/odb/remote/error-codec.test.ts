import assert from 'node:assert/strict';
import { test } from 'node:test';
import { BaseError } from '#src/base/index.js';
import * as errors from '#src/odb/errors.js';
import type { Oid, Tid } from '#src/odb/ids.js';
import { readValue, valuePacket } from '#src/odb/remote/codec.js';
import { errorFromWire, errorToWire } from '#src/odb/remote/error-codec.js';
import { Message } from '#src/odb/remote/messages.js';

/** Through the bytes and back. */
function roundTrip(error: unknown): Error {
  return errorFromWire(readValue(valuePacket(Message.failure, 1, errorToWire(error))));
}

/** One of each, made as it is made in earnest. */
function samples(): Error[] {
  const special: Record<string, () => Error> = {
    ConflictError: () =>
      new errors.ConflictError({
        oid: 12 as Oid,
        className: 'bank.Account',
        baseSerial: 3 as Tid,
        committedSerial: 1_800_000_000_000_123 as Tid,
        reason: 'the merge said no',
      }),
    ReadConflictError: () =>
      new errors.ReadConflictError({ oid: 12 as Oid, baseSerial: 3 as Tid, committedSerial: 0 as Tid }),
    POSKeyError: () => new errors.POSKeyError(77 as Oid),
    CorruptionError: () => new errors.CorruptionError('flipped', { oid: 1 as Oid, tid: 2 as Tid }),
    StorageLockedError: () => new errors.StorageLockedError('/data/test.fs', { pid: 12 }),
    NotADatabaseError: () => new errors.NotADatabaseError('/etc', 'it is something else'),
    CommitUncertainError: () => new errors.CommitUncertainError(Uint8Array.from({ length: 16 }, (_, i) => i)),
    TransactionInDoubtError: () =>
      new errors.TransactionInDoubtError({
        oid: 3 as Oid,
        commitId: Uint8Array.of(1, 2),
        decider: 'abc',
        deciderName: '/data/a.fs',
        tid: 9 as Tid,
      }),
    DuplicateNameError: () => new errors.DuplicateNameError('a.b'),
    ReservedNameError: () => new errors.ReservedNameError('js.x'),
    UnregisteredError: () => new errors.UnregisteredError('no such', { path: 'root.x', persistentName: 'a.b' }),
    SerializationError: () => new errors.SerializationError('not this', { path: 'root.x' }),
    AddressInUseError: () => new errors.AddressInUseError('127.0.0.1:9'),
  };
  const plain = (name: string) => {
    const Plain = (errors as unknown as Record<string, new (message: string) => Error>)[name];
    return new (Plain as new (message: string) => Error)(`a ${name}`);
  };
  return Object.keys(errors)
    .filter((name) => name !== 'TransactionError')
    .map((name) => special[name]?.() ?? plain(name));
}

for (const error of samples()) {
  test(`${error.constructor.name} comes back as itself`, () => {
    const back = roundTrip(error) as BaseError;
    assert.ok(error instanceof BaseError);
    assert.equal(back.constructor, error.constructor);
    assert.equal(back.name, error.name);
    assert.equal(back.message, error.message);
    assert.equal(back.code, error.code);
    assert.equal(back.retry, error.retry);
    const facts = (of: object) =>
      Object.fromEntries(
        Object.entries(of).map(([key, value]) => [key, value instanceof Uint8Array ? [...value] : value]),
      );
    assert.deepEqual(facts(back), facts(error));
    assert.ok(back.stack?.includes('error-codec.test'), 'it says where it came up here');
  });
}

test('every code is unique to its class, and follows from its name', () => {
  const codes = samples().map((error) => (error as BaseError).code);
  assert.equal(new Set(codes).size, codes.length);
  for (const error of samples()) {
    const word = error.name.replace(/Error$/, '').toUpperCase();
    assert.equal((error as BaseError).code.replaceAll('_', ''), `ODB${word}`);
  }
});

test('wrong arguments come back as the errors of the language', () => {
  const range = roundTrip(Object.assign(new RangeError('too far'), { code: 'ARG_OID' }));
  assert.ok(range instanceof RangeError);
  assert.equal((range as { code?: string }).code, 'ARG_OID');
  assert.ok(roundTrip(new TypeError('no such thing')) instanceof TypeError);
});

test('anything else comes back as a StorageError with its message, never with its stack', () => {
  const back = roundTrip(Object.assign(new Error('the disk is on fire'), { code: 'EIO' }));
  assert.ok(back instanceof errors.StorageError);
  assert.match(back.message, /the disk is on fire/);
  assert.ok(roundTrip('a string') instanceof errors.StorageError);
  const wire = Buffer.from(valuePacket(Message.failure, 1, errorToWire(new Error('x')))).toString('latin1');
  assert.doesNotMatch(wire, /error-codec\.test/);
});

test('rubbish in place of an error is an error too', () => {
  for (const wire of [null, 1, [], ['ODB_CONFLICT'], [1, 2, 3], ['A', 'b', null]]) {
    assert.ok(errorFromWire(wire) instanceof errors.ProtocolError);
  }
  assert.ok(errorFromWire(['ODB_NEWER_THAN_US', 'what is this', {}]) instanceof errors.StorageError);
});
