/**
 * Carries packets between a client of a storage and the {@link Session} that serves it.
 *
 * An observer may rely on this:
 *
 * 1. Packets arrive whole, in the order in which they were sent, or not at all; after one is lost nothing follows.
 * 2. `close` of the handlers is called once, last, and never from within `send`.
 * 3. What is sent after the close is dropped in silence: the close tells.
 */
export interface Transport {
  /** Sends a packet. Its bytes belong to the transport from now on. */
  send(packet: Uint8Array): void;
  /** Says who receives. Called once, before the first packet can arrive. */
  listen(handlers: TransportHandlers): void;
  /** Ends the connection; what was sent before is still delivered where the other side lives. */
  close(): void;
}

/** Receives what comes over a {@link Transport}. */
export interface TransportHandlers {
  /** A packet came. Its bytes may lie in a larger buffer: copy what is kept. */
  packet(packet: Uint8Array): void;
  /** The connection is gone; `reason` is missing when it was ended in order. */
  close(reason: Error | undefined): void;
}
