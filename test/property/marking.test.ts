import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { type Oid, POSKeyError, type Tid, ZERO_TID } from 'holdfast/odb';
import { Marking } from '#src/odb/storage/pack/marking.js';
import { OidSet } from '#src/odb/storage/pack/oid-set.js';

const OIDS = 12;
const oid = fc.integer({ min: 0, max: OIDS - 1 });
const references = fc.uniqueArray(oid, { maxLength: 3 });

type Step =
  /** Some objects are looked at. */
  | { readonly what: 'mark'; readonly count: number }
  /** An object is looked at by the sweep. */
  | { readonly what: 'sweep'; readonly oid: number }
  /** An object that is there references others from now on. */
  | { readonly what: 'change'; readonly oid: number; readonly to: readonly number[] }
  /** A new object, and one that is there and references it, in one commit. */
  | { readonly what: 'add'; readonly from: number; readonly to: readonly number[] };

const step: fc.Arbitrary<Step> = fc.oneof(
  fc.record({ what: fc.constant('mark' as const), count: fc.integer({ min: 1, max: 4 }) }),
  fc.record({ what: fc.constant('sweep' as const), oid }),
  fc.record({ what: fc.constant('change' as const), oid, to: references }),
  fc.record({ what: fc.constant('add' as const), from: oid, to: references }),
);

/** A database in which an object is its references. */
class Model {
  readonly objects: Map<Oid, readonly Oid[]>;
  readonly marking: Marking;
  isComplete = false;
  #next = OIDS;

  constructor(objects: readonly (readonly number[])[]) {
    this.objects = new Map(objects.map((to, i) => [i as Oid, to as readonly Oid[]]));
    this.marking = new Marking({
      revisions: (oid) => (this.objects.has(oid) ? [Uint8Array.from(this.objects.get(oid) as readonly Oid[])] : []),
      references: (data) => [...data] as Oid[],
    });
  }

  mark(count: number): void {
    this.isComplete ||= this.marking.step(count);
  }

  sweep(oid: Oid): void {
    if (!this.isComplete || this.marking.isMarked(oid) || !this.objects.has(oid)) return;
    this.marking.sweep(oid);
    this.objects.delete(oid);
  }

  /** Commits states, if they lead to nothing that is gone. */
  commit(states: ReadonlyMap<Oid, readonly Oid[]>): void {
    const led = new Set([...states.values()].flat());
    for (const oid of led) for (const to of this.objects.get(oid) ?? []) led.add(to);
    const missing = [...led].filter((to) => !this.objects.has(to) && !states.has(to));
    const records = [...states].map(([oid, to]) => {
      return { oid, previous: this.objects.has(oid) ? (1 as Tid) : ZERO_TID, data: Uint8Array.from(to) };
    });
    if (missing.length > 0) assert.throws(() => this.marking.accept(records), POSKeyError);
    else {
      this.marking.accept(records);
      for (const [oid, to] of states) this.objects.set(oid, to);
    }
  }

  newOid(): Oid {
    return this.#next++ as Oid;
  }

  reached(): Set<Oid> {
    const reached = new Set<Oid>([0 as Oid]);
    for (const oid of reached) for (const to of this.objects.get(oid) ?? []) reached.add(to);
    return reached;
  }
}

test('whatever is committed meanwhile, the sweep takes nothing that the root reaches', () => {
  const objects = fc.array(references, { minLength: OIDS, maxLength: OIDS });
  fc.assert(
    fc.property(objects, fc.array(step, { maxLength: 60 }), (start, steps) => {
      const model = new Model(start);
      for (const each of steps) {
        if (each.what === 'mark') model.mark(each.count);
        else if (each.what === 'sweep') model.sweep(each.oid as Oid);
        else if (each.what === 'change') {
          if (model.objects.has(each.oid as Oid)) model.commit(new Map([[each.oid as Oid, each.to as Oid[]]]));
        } else if (model.objects.has(each.from as Oid)) {
          const added = model.newOid();
          const old = model.objects.get(each.from as Oid) as readonly Oid[];
          model.commit(
            new Map([
              [each.from as Oid, [...old, added]],
              [added, each.to as Oid[]],
            ]),
          );
        }
        for (const oid of model.reached()) assert.ok(model.objects.has(oid), `${oid} is there`);
      }
    }),
    { numRuns: 3000 },
  );
});

test('with nobody else about, all that the root does not reach goes', () => {
  fc.assert(
    fc.property(fc.array(references, { minLength: OIDS, maxLength: OIDS }), (start) => {
      const model = new Model(start);
      while (!model.isComplete) model.mark(2);
      const reached = model.reached();
      for (let i = 0; i < OIDS; i++) model.sweep(i as Oid);
      assert.deepEqual(new Set(model.objects.keys()), reached);
    }),
  );
});

test('a set of oids is as a set', () => {
  const oids = fc.array(
    fc.oneof(fc.integer({ min: 0, max: 200 }), fc.integer({ min: 65_530, max: 65_540 }), fc.maxSafeNat()),
  );
  fc.assert(
    fc.property(oids, oids, (added, others) => {
      const set = new OidSet();
      const model = new Set<number>();
      for (const each of added) {
        assert.equal(set.add(each as Oid), !model.has(each));
        model.add(each);
      }
      assert.equal(set.size, model.size);
      for (const each of [...added, ...others]) assert.equal(set.has(each as Oid), model.has(each));
      const taken: number[] = [];
      for (let page = set.takePage(); page.length > 0; page = set.takePage()) taken.push(...page);
      assert.deepEqual(new Set(taken), model);
      assert.equal(taken.length, model.size);
      assert.equal(set.size, 0);
    }),
  );
});
