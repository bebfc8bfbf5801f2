import type { Socket } from 'node:net';
import { type Clock, deferred, Logger, type Timer } from '../../base/index.js';
import { HEADER_BYTES, ProtocolError, packetId, packetType, Session, StorageError } from '../../odb/remote/index.js';
import {
  ConnectionMessage,
  channelOpenedPacket,
  pongPacket,
  readCloseChannel,
  readHello,
  readOpenChannel,
  refusalPacket,
  welcomePacket,
} from '../protocol/connection-messages.js';
import { commonVersion, PROTOCOL_VERSIONS } from '../protocol/version.js';
import { FrameSocket } from '../transport/frame-socket.js';
import type { ServedStorage } from './served-storage.js';

const log = new Logger('holdfast.zeo.server');

/** Largest frame before the handshake is over. */
const HANDSHAKE_FRAME_BYTES_MAX = 64 * 1024;
/** Views that one client may have. */
const CHANNELS_MAX = 1024;
/** Locks that a client may bring along for one of them. */
const LOCKS_MAX = 10_000;
/** How long a client may take for the last words. */
const END_TIMEOUT_MS = 1000;

/** What a {@link ServerConnection} needs to know of its server. */
export interface ConnectionOwner {
  readonly clock: Clock;
  readonly isReadOnly: boolean;
  readonly frameBytesMax: number;
  readonly outputBytesMax: number;
  readonly handshakeTimeoutMs: number;
  readonly transactionTimeoutMs: number;
  find(storageName: string): ServedStorage | undefined;
  readonly storageNames: readonly string[];
  readonly isClosing: boolean;
  closed(connection: ServerConnection): void;
}

/**
 * A client's connection.
 *
 * - Until `hello` came, only that is taken, for a limited time. A wrong magic ends the connection without a word; a
 *   wrong version or storage name is told first.
 * - Then each channel is a session of the storage, and the connection is told of every transaction.
 */
export class ServerConnection {
  readonly #owner: ConnectionOwner;
  readonly #socket: FrameSocket;
  readonly #sessions = new Map<number, Session>();
  readonly #handshakeTimer: Timer;
  readonly #end = deferred();
  #served: ServedStorage | undefined;
  #label = '';
  #backlogBytes = 0;
  #heardMs: number;
  #heardBytes = 0;

  constructor(socket: Socket, owner: ConnectionOwner) {
    this.#owner = owner;
    this.#heardMs = owner.clock.now();
    this.#socket = new FrameSocket(socket, {
      frameBytesMax: HANDSHAKE_FRAME_BYTES_MAX,
      handlers: {
        frame: (channel, packet) => this.#receive(channel, packet),
        close: (reason) => this.#closed(reason),
      },
    });
    this.#handshakeTimer = owner.clock.schedule(owner.handshakeTimeoutMs, () => {
      this.#socket.destroy(new ProtocolError(`no handshake within ${owner.handshakeTimeoutMs} ms`));
    });
  }

  /** Who it is, for logs. */
  get peer(): string {
    return this.#label === '' ? this.#socket.peer : `${this.#label} at ${this.#socket.peer}`;
  }

  get bytesIn(): number {
    return this.#socket.bytesIn;
  }

  get bytesOut(): number {
    return this.#socket.bytesOut;
  }

  /** Tells the client of a transaction; `frame` is the same for all clients. */
  publish(frame: Buffer): void {
    if (this.#socket.bufferedBytes === 0) this.#backlogBytes = 0;
    this.#backlogBytes += frame.length;
    if (this.#backlogBytes > this.#owner.outputBytesMax) {
      this.#socket.destroy(new StorageError('it does not read what it is sent'));
      return;
    }
    this.#socket.sendFrame(frame);
  }

  /** Drops the client if nothing was heard of it for `limitMs`: a live one pings. */
  dropIfSilent(limitMs: number): void {
    const nowMs = this.#owner.clock.now();
    if (this.#socket.bytesIn !== this.#heardBytes) {
      this.#heardBytes = this.#socket.bytesIn;
      this.#heardMs = nowMs;
    } else if (nowMs - this.#heardMs > limitMs) {
      this.#socket.destroy(new StorageError(`nothing was heard of it for ${limitMs} ms`));
    }
  }

  /** Takes no further commits, and resolves once those under way are done. */
  async drain(): Promise<void> {
    await Promise.all([...this.#sessions.values()].map((session) => session.drain()));
  }

  /** Resolves once the connection is gone. */
  get whenClosed(): Promise<void> {
    return this.#end.promise;
  }

  /** Ends the connection, in order. */
  end(): void {
    this.#socket.end(END_TIMEOUT_MS);
  }

  #receive(channel: number, packet: Buffer): void {
    if (packet.length < HEADER_BYTES) throw new ProtocolError('a packet came that has no header');
    if (this.#served === undefined) this.#handshake(channel, packet);
    else if (channel === 0) this.#control(this.#served, packet);
    // A channel that was closed may still have packets on the way.
    else this.#sessions.get(channel)?.receive(packet);
  }

  #handshake(channel: number, packet: Buffer): void {
    if (channel !== 0 || packetType(packet) !== ConnectionMessage.hello) {
      throw new ProtocolError('something else than a handshake came first');
    }
    const { versions, storage, lastTid, label } = readHello(packet);
    this.#handshakeTimer.cancel();
    const version = commonVersion(versions);
    if (version === undefined) {
      this.#refuse(
        new ProtocolError(
          `this server speaks version ${PROTOCOL_VERSIONS.join(', ')} of the protocol, the client ${versions.join(', ')}`,
        ),
      );
      return;
    }
    const served = this.#owner.find(storage);
    if (served === undefined) {
      const names = this.#owner.storageNames.map((name) => `'${name}'`).join(', ');
      this.#refuse(new StorageError(`this server has no storage '${storage}', but ${names}`));
      return;
    }
    this.#label = label;
    this.#served = served;
    this.#socket.frameBytesMax = this.#owner.frameBytesMax;
    // Ordering: what is in the welcome ends where the invalidations begin; nothing is published in between.
    this.#socket.send(
      0,
      welcomePacket({
        version,
        identity: served.storage.identity,
        supports: served.supports,
        isReadOnly: this.#owner.isReadOnly || served.isReadOnly,
        lastTid: served.lastTid,
        nowMs: served.storage.clock.now(),
        missed: served.missedSince(lastTid),
      }),
    );
    served.connections.add(this);
    log.info('a client connected', { peer: this.peer, storage });
  }

  #refuse(error: Error): void {
    log.log('warning', `a client was refused: ${error.message}`, { facts: { peer: this.peer } });
    this.#socket.send(0, refusalPacket(error));
    this.#socket.end(END_TIMEOUT_MS);
  }

  #control(served: ServedStorage, packet: Buffer): void {
    const type = packetType(packet);
    switch (type) {
      case ConnectionMessage.ping:
        this.#socket.send(0, pongPacket(served.storage.clock.now(), packetId(packet)));
        return;
      case ConnectionMessage.openChannel:
        this.#openChannel(served, packet);
        return;
      case ConnectionMessage.closeChannel: {
        const channel = readCloseChannel(packet);
        this.#sessions.get(channel)?.close();
        this.#sessions.delete(channel);
        return;
      }
      default:
        throw new ProtocolError(`a packet of type ${type} came on channel 0`);
    }
  }

  #openChannel(served: ServedStorage, packet: Buffer): void {
    const { channel, isReadOnly, locks, watches } = readOpenChannel(packet);
    if (this.#sessions.has(channel)) throw new ProtocolError(`channel ${channel} is open already`);
    if (this.#sessions.size >= CHANNELS_MAX) throw new ProtocolError(`a client may have ${CHANNELS_MAX} channels`);
    if (locks.length + watches.length > LOCKS_MAX) throw new ProtocolError('a channel came with too many locks');
    const session = new Session({
      storage: served.storage,
      transport: {
        send: (answer) => this.#socket.send(channel, answer),
        close: () => this.#socket.destroy(),
      },
      locks: served.newLocks(),
      isReadOnly: this.#owner.isReadOnly || served.isReadOnly || isReadOnly,
      transactionTimeoutMs: this.#owner.transactionTimeoutMs,
      clock: this.#owner.clock,
      stats: served.stats,
    });
    this.#sessions.set(channel, session);
    if (this.#owner.isClosing) void session.drain();
    void session.resume({ locks, watches }).then((regained) => {
      this.#socket.send(0, channelOpenedPacket({ channel, locks: regained }));
    });
  }

  #closed(reason: Error | undefined): void {
    this.#handshakeTimer.cancel();
    for (const session of this.#sessions.values()) session.close();
    this.#sessions.clear();
    this.#served?.connections.delete(this);
    this.#owner.closed(this);
    this.#end.resolve();
    const facts = { peer: this.peer };
    // A scanner, or somebody who has the wrong port, is not worth a line.
    if (!this.#socket.hasMagic) log.debug('something that is no client was disconnected', facts);
    else if (reason) log.log('warning', `a client was disconnected: ${reason.message}`, { facts });
    else log.info('a client disconnected', facts);
  }
}
