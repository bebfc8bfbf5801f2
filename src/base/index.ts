export { untilAborted } from './abort.js';
export { InvariantError, invariant, unreachable } from './assert.js';
export {
  asBuffer,
  bytesEqual,
  crc32,
  readUint32,
  readUint64,
  readUtf8,
  toHex,
  writeUint32,
  writeUint64,
} from './bytes.js';
export { type Clock, delay, nextTurn, systemClock, type Timer } from './clock.js';
export { type Deferred, deferred } from './deferred.js';
export { type Duration, durationMs, parseDuration, type Size, sizeBytes } from './duration.js';
export { argumentRangeError, argumentTypeError, BaseError, type ErrorFacts, type Retry, retryOf } from './error.js';
export { heapBytes, suggestCollection } from './garbage.js';
export { importingDefinitions, refuseDuringImport } from './import-guard.js';
export { LockFile, LockFileHeldError, type LockHolder } from './lock-file.js';
export { Logger, type LogLevel, type LogRecord, type LogSink, setLogLevel, setLogSink } from './logger.js';
export { type Machine, thisMachine } from './machine.js';
export { Mutex } from './mutex.js';
export { nearestName, requireOptions, requireProgressOptions } from './options.js';
export { type Random, seededRandom, systemRandom } from './random.js';
