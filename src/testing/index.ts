/**
 * Helpers for tests of programs that use jobs.
 *
 * @packageDocumentation
 */

export { Reactor } from './reactor.js';
export { printLogs, setUp, tearDown, tearDownDispatcher } from './set-up.js';
export {
  getPoll,
  until,
  type WaitOptions,
  waitForAnnotation,
  waitForDeactivation,
  waitForDeath,
  waitForResult,
  waitForStart,
} from './waits.js';
