import type { DB } from '../odb/index.js';
import type { DispatcherAgents } from './dispatcher-agents.js';

/** What happens in the job layer, by name. Each event carries the object that it happened to. */
export interface JobLayerEvents {
  /** A database is there for the job layer to be installed in. */
  DatabaseOpened: { readonly object: DB };
  /** `object` was put in the container `parent` under `name`. */
  ObjectAdded: { readonly object: object; readonly parent: object; readonly name: string };
  /** A dispatcher made itself known to a queue. */
  DispatcherRegistered: { readonly object: DispatcherAgents };
  /** A dispatcher was taken out of a queue; `parent` is the mapping that it was in. */
  DispatcherUnregistered: { readonly object: DispatcherAgents; readonly parent: object };
  /** A dispatcher began to serve a queue: the place to install its agents. */
  DispatcherActivated: { readonly object: DispatcherAgents };
  /** A dispatcher stopped serving a queue, or was buried; its agents are clean. */
  DispatcherDeactivated: { readonly object: DispatcherAgents };
  /** A dispatcher that had been buried by mistake pinged again. */
  DispatcherReactivated: { readonly object: DispatcherAgents };
}

/** Name of an event. */
export type JobLayerEventName = keyof JobLayerEvents;

/** Told of an event, in the transaction in which it happens. */
export type JobLayerListener<Name extends JobLayerEventName> = (event: JobLayerEvents[Name]) => void;

type Listeners = { [Name in JobLayerEventName]?: Set<JobLayerListener<Name>> };

/**
 * Tells listeners of events, at once and in the order in which they were added.
 *
 * - A listener runs inside the transaction of what happens, and may change objects in it: what it does commits or aborts
 *   together with its cause. When that transaction is run again after a conflict, the listener is called again.
 * - What a listener throws reaches whoever caused the event, and fails its transaction.
 */
export class Events {
  readonly #listeners: Listeners = {};

  /** Calls `listener` at each event of this name. Returns the function that ends it. */
  on<Name extends JobLayerEventName>(name: Name, listener: JobLayerListener<Name>): () => void {
    const listeners: Set<JobLayerListener<Name>> = this.#listeners[name] ?? new Set<JobLayerListener<Name>>();
    (this.#listeners as Record<Name, Set<JobLayerListener<Name>>>)[name] = listeners;
    // A wrapper of its own, so that adding the same function twice means two calls and two removals.
    const entry: JobLayerListener<Name> = (event) => listener(event);
    listeners.add(entry);
    return () => {
      listeners.delete(entry);
    };
  }

  /** Calls the listeners of this name. Listeners that are added meanwhile are told from the next event on. */
  emit<Name extends JobLayerEventName>(name: Name, event: JobLayerEvents[Name]): void {
    const listeners = this.#listeners[name];
    if (!listeners) return;
    for (const listener of [...listeners]) (listener as JobLayerListener<Name>)(event);
  }
}

/** The events of this process's job layer. */
export const events = new Events();
