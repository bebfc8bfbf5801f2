/**
 * Suites that say whether an implementation keeps its contract; tied to no test runner.
 *
 * @packageDocumentation
 */

export { testStorage } from './storage.js';
export {
  type Ability,
  appendResolver,
  onlyOf,
  type StorageSuite,
  type Subject,
  type SubjectAbilities,
  type SubjectOptions,
} from './subject.js';
