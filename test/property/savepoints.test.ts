import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import {
  DB,
  InvalidSavepointRollbackError,
  Persistent,
  PersistentMapping,
  persistable,
  type Savepoint,
  TransactionManager,
} from 'holdfast/odb';

class Note extends Persistent {
  next: Note | undefined = undefined;

  constructor(public text: number) {
    super();
  }
}
persistable('test.property.savepoints', import.meta, { Note });

interface Root {
  notes: PersistentMapping<Note>;
}

/** What the notes say, and which note each leads to. */
type Model = ReadonlyMap<string, { readonly text: number; readonly next: string | undefined }>;

const KEYS = ['a', 'b', 'c', 'd', 'e'];
const key = fc.constantFrom(...KEYS);

const command = fc.oneof(
  { weight: 3, arbitrary: fc.record({ kind: fc.constant('write' as const), key, text: fc.nat(99) }) },
  { weight: 3, arbitrary: fc.record({ kind: fc.constant('make' as const), key, text: fc.nat(99) }) },
  { weight: 3, arbitrary: fc.record({ kind: fc.constant('link' as const), key, to: key }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('remove' as const), key }) },
  { weight: 3, arbitrary: fc.record({ kind: fc.constant('savepoint' as const) }) },
  { weight: 3, arbitrary: fc.record({ kind: fc.constant('rollback' as const), to: fc.nat(9) }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('minimize' as const) }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constantFrom('commit' as const, 'abort' as const) }) },
);

/** As a connection shows it. A note that is in the mapping no more may be led to still. */
function read(notes: PersistentMapping<Note>): Model {
  const names = new Map([...notes].map(([name, note]) => [note, name]));
  return new Map(
    [...notes].map(([name, { text, next }]) => [
      name,
      { text, next: next && (names.get(next) ?? `gone ${next.text}`) },
    ]),
  );
}

/** Notes that are led to, and no longer under a name, go by what they say. */
function without(model: Model, name: string): Map<string, { text: number; next: string | undefined }> {
  const gone = model.get(name);
  const rest = new Map([...model].filter(([other]) => other !== name));
  for (const [other, { text, next }] of rest) {
    if (gone && next === name) rest.set(other, { text, next: `gone ${gone.text}` });
  }
  return rest;
}

test('whatever is changed, saved, rolled back and dropped from memory, a transaction is in the state that it should be in', async () => {
  await using db = await DB.open<Root>('memory:', { cacheSize: 3 });
  await fc.assert(
    fc.asyncProperty(fc.array(command, { minLength: 10, maxLength: 60, size: 'max' }), async (commands) => {
      await db.transaction(({ root }) => {
        root.notes = new PersistentMapping({ a: new Note(1) });
      });
      const manager = new TransactionManager();
      await manager.enter(async () => {
        const connection = db.open();
        const notes = connection.root.notes as PersistentMapping<Note>;
        let model = read(notes);
        let committed = model;
        let saved: { savepoint: Savepoint; model: Model }[] = [];
        const voided: Savepoint[] = [];
        const end = () => {
          voided.push(...saved.map(({ savepoint }) => savepoint));
          saved = [];
        };
        for (const step of commands) {
          const note = 'key' in step ? notes.get(step.key) : undefined;
          const entry = 'key' in step ? model.get(step.key) : undefined;
          if (step.kind === 'write' && note && entry) {
            note.text = step.text;
            model = new Map(model).set(step.key, { ...entry, text: step.text });
          } else if (step.kind === 'make') {
            notes.set(step.key, new Note(step.text));
            model = without(model, step.key).set(step.key, { text: step.text, next: undefined });
          } else if (step.kind === 'link' && note && entry) {
            note.next = notes.get(step.to);
            model = new Map(model).set(step.key, { ...entry, next: model.has(step.to) ? step.to : undefined });
          } else if (step.kind === 'remove') {
            notes.delete(step.key);
            model = without(model, step.key);
          } else if (step.kind === 'savepoint') saved.push({ savepoint: manager.savepoint(), model });
          else if (step.kind === 'rollback' && saved.length > 0) {
            const index = step.to % saved.length;
            const target = saved[index] as (typeof saved)[number];
            target.savepoint.rollback();
            model = target.model;
            voided.push(...saved.splice(index + 1).map(({ savepoint }) => savepoint));
          } else if (step.kind === 'minimize') connection.cacheMinimize();
          else if (step.kind === 'commit') {
            const commit = manager.commit();
            // While it waits, what it stores may leave memory.
            if (model.size % 2 === 0) connection.cacheMinimize();
            assert.deepEqual(read(notes), model);
            await commit;
            committed = model;
            end();
          } else if (step.kind === 'abort') {
            manager.abort();
            model = committed;
            end();
          }
          assert.deepEqual(read(notes), model);
          for (const savepoint of voided) assert.throws(() => savepoint.rollback(), InvalidSavepointRollbackError);
          assert.deepEqual(await db.transaction(({ root }) => read(root.notes)), committed, 'as others see it');
        }
        manager.abort();
        connection.close();
      });
    }),
    { numRuns: 150 },
  );
});
