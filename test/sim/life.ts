import type { OpenDatabase } from './database.js';
import type { Scheduler } from './scheduler.js';

/** The part of a simulation that lasts from the opening of its databases to their end. */
export interface Life {
  readonly scheduler: Scheduler;
  /** Those that are open, one at least. */
  readonly databases: readonly OpenDatabase[];
  /** Whether clients come to their end. */
  isEnding: boolean;
  /** Whether the databases are being closed, under whoever still uses them. */
  isClosing: boolean;
}
