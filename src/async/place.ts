import type { Agent } from './agent.js';
import type { Queue } from './queue.js';

/** What may be the parent of a job, besides another job. Told apart by `placeKind`, which loads nothing. */
export type JobPlace = Queue | Agent;

/** The kind of a job's place. */
export type PlaceKind = 'queue' | 'agent';
