import type { Clock, LogLevel, Random, Timer } from '../../base/index.js';
import {
  ClientDisconnected,
  ProtocolError,
  packetId,
  packetType,
  StorageError,
  ViewHub,
  ZERO_TID,
} from '../../odb/remote/index.js';
import {
  ConnectionMessage,
  closeChannelPacket,
  helloPacket,
  openChannelPacket,
  pingPacket,
  readChannelOpened,
  readInvalidate,
  readInvalidateAll,
  readPong,
  readRefusal,
  readWelcome,
  type Welcome,
} from '../protocol/connection-messages.js';
import { PROTOCOL_VERSIONS } from '../protocol/version.js';
import { type Address, formatAddress } from '../transport/address.js';
import { dial, type FrameSocket } from '../transport/frame-socket.js';
import { type ChannelOwner, ClientChannel } from './client-channel.js';
import { Reconnect } from './reconnect.js';

const PING_INTERVAL_MS = 5000;
/** Nothing was heard for this long, though we pinged: the connection is dead. */
const SILENCE_MAX_MS = 15_000;
/** Time for connecting and the handshake. */
const HANDSHAKE_TIMEOUT_MS = 10_000;
/** Pause after a server that knows less than we have seen: it is the wrong one, or was restored from a backup. */
const BEHIND_PAUSE_MS = 10_000;
/** Answers hold whole batches: the server decides what is large. */
const FRAME_BYTES_MAX = 0xffff_ffff;
/** Time for the last packets to go out. */
const END_TIMEOUT_MS = 1000;
const HEARTBEAT_MS = 500;

/** Options of a {@link ServerLink}. */
export interface ServerLinkOptions {
  /** Tried in turn. */
  readonly addresses: readonly Address[];
  readonly storage: string;
  readonly label: string;
  readonly isReadOnly: boolean;
  /** How long a promise waits for a connection. */
  readonly waitTimeoutMs: number;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: (level: LogLevel, message: string, error?: Error) => void;
  /** Called with what was wrong with an attempt, as long as there has been no connection. */
  readonly onAttempt: (failure: string) => void;
  /** Called once: with the first connection, or with an error that no further attempt would cure. */
  readonly onFirst: (error: Error | undefined) => void;
}

/**
 * The connection of a process to one storage of a server, for all of its views.
 *
 * - `connecting`: an attempt is under way, until the server's welcome or a failure.
 * - `connected`: packets pass. What the server publishes goes into the ring ahead of every later answer.
 * - `pausing`: the last attempt failed, or the connection was lost; another attempt follows.
 * - `closed`: for ever.
 */
export class ServerLink {
  readonly hub: ViewHub;
  readonly #options: ServerLinkOptions;
  readonly #clock: Clock;
  readonly #reconnect: Reconnect;
  readonly #channels = new Map<number, ClientChannel>();
  #state: 'connecting' | 'connected' | 'pausing' | 'closed' = 'pausing';
  #socket: FrameSocket | undefined;
  #attempts = 0;
  #lastChannel = 0;
  #hasBeenConnected = false;
  #timer: Timer | undefined;
  #heartbeat: Timer | undefined;
  #giveUpTimer: Timer | undefined;
  readonly #pings = new Map<number, number>();
  #lastPing = 0;
  #heardBytes = 0;
  #heardMs = 0;
  #bestRoundTripMs = Number.POSITIVE_INFINITY;
  #helloMs = 0;
  #isServerBehind = false;
  #lastFailure = 'not tried yet';

  constructor(options: ServerLinkOptions) {
    this.#options = options;
    this.#clock = options.clock;
    this.#reconnect = new Reconnect(options.random);
    this.#channelOwner = {
      isConnected: () => this.#state === 'connected',
      deadlineMs: () => this.#clock.now() + options.waitTimeoutMs,
      send: (channel, packet) => this.#socket?.send(channel, packet),
    };
    this.hub = new ViewHub({
      lastTid: ZERO_TID,
      serve: (link) => {
        this.#lastChannel += 1;
        const channel = new ClientChannel(this.#lastChannel, link, this.#channelOwner);
        this.#channels.set(channel.number, channel);
        if (this.#state === 'connected') this.#openChannel(channel);
        return {
          packet: (packet) => {
            channel.fromView(packet);
            this.#scheduleGiveUp();
          },
          close: () => {
            this.#channels.delete(channel.number);
            if (this.#state === 'connected') this.#socket?.send(0, closeChannelPacket(channel.number));
          },
        };
      },
    });
    this.hub.memory.isReadOnly = options.isReadOnly;
    this.#beat();
    this.#attempt();
  }

  /** Ends the connection, and everything that the views wait for. */
  close(): void {
    if (this.#state === 'closed') return;
    this.#state = 'closed';
    this.hub.memory.state = 'closed';
    for (const timer of [this.#timer, this.#heartbeat, this.#giveUpTimer]) timer?.cancel();
    this.#lose('the storage was closed');
    this.hub.askToClose();
    this.#socket?.end(END_TIMEOUT_MS);
  }

  /** The thread ends by accident: nobody may wait for it. */
  die(): void {
    this.hub.memory.state = 'dead';
    for (const channel of this.#channels.values()) channel.lost('the thread that keeps the connection has ended');
  }

  readonly #channelOwner: ChannelOwner;

  #attempt(): void {
    const { addresses, storage, label } = this.#options;
    const address = addresses[this.#attempts % addresses.length] as Address;
    this.#attempts += 1;
    this.#state = 'connecting';
    let refusal: Error | undefined;
    const socket: FrameSocket = dial(address, {
      frameBytesMax: FRAME_BYTES_MAX,
      onConnect: () => {
        this.#helloMs = this.#clock.now();
        socket.send(0, helloPacket({ versions: PROTOCOL_VERSIONS, storage, lastTid: this.hub.lastTid, label }));
      },
      handlers: {
        frame: (channel, packet) => {
          if (channel !== 0) {
            this.#channels.get(channel)?.fromServer(packet);
          } else if (packetType(packet) === ConnectionMessage.refusal) {
            refusal = readRefusal(packet);
            socket.destroy(refusal);
          } else {
            this.#control(socket, packet);
          }
        },
        close: (reason) => this.#ended(address, reason, refusal !== undefined || reason instanceof ProtocolError),
      },
    });
    this.#socket = socket;
    this.#timer = this.#clock.schedule(HANDSHAKE_TIMEOUT_MS, () => {
      socket.destroy(new ClientDisconnected(`no handshake within ${HANDSHAKE_TIMEOUT_MS} ms`));
    });
  }

  /** A packet about the connection itself. Those about other packets are handled in order, like them. */
  #control(socket: FrameSocket, packet: Uint8Array): void {
    const type = packetType(packet);
    switch (type) {
      case ConnectionMessage.welcome:
        this.#connected(socket, readWelcome(packet));
        return;
      case ConnectionMessage.invalidate: {
        const { tid, oids } = readInvalidate(packet);
        this.hub.publish(tid, oids);
        return;
      }
      case ConnectionMessage.invalidateAll:
        this.hub.publishAll(readInvalidateAll(packet));
        return;
      case ConnectionMessage.pong: {
        const sentMs = this.#pings.get(packetId(packet));
        this.#pings.delete(packetId(packet));
        if (sentMs !== undefined) this.#setClock(sentMs, readPong(packet));
        return;
      }
      case ConnectionMessage.channelOpened: {
        const { channel, locks } = readChannelOpened(packet);
        this.#channels.get(channel)?.resumed(locks);
        return;
      }
      default:
        throw new ProtocolError(`a packet of type ${type} came on channel 0`);
    }
  }

  #connected(socket: FrameSocket, welcome: Welcome): void {
    const { hub } = this;
    const { log, isReadOnly } = this.#options;
    if (this.#state !== 'connecting') throw new ProtocolError('a welcome came that was not asked for');
    if (welcome.lastTid < hub.lastTid) {
      this.#isServerBehind = true;
      socket.destroy(
        new ClientDisconnected(
          `the server's last transaction is ${welcome.lastTid}, ours is ${hub.lastTid}: it is another database, or was restored from a backup`,
        ),
      );
      return;
    }
    this.#timer?.cancel();
    this.#reconnect.reset();
    const isFirst = !this.#hasBeenConnected;
    // Ordering: what was missed is told before anybody can read from this server.
    if (welcome.missed === undefined) {
      if (!isFirst) log('warning', 'the server does not know what changed meanwhile: caches are dropped');
      hub.publishAll(welcome.lastTid);
    } else {
      for (const { tid, oids } of welcome.missed) hub.publish(tid, oids);
      if (hub.lastTid < welcome.lastTid) hub.publishAll(welcome.lastTid);
    }
    hub.memory.identity = welcome.identity;
    hub.memory.supports = welcome.supports;
    hub.memory.isReadOnly = isReadOnly || welcome.isReadOnly;
    this.#bestRoundTripMs = Number.POSITIVE_INFINITY;
    this.#setClock(this.#helloMs, welcome.nowMs);
    hub.memory.nextEpoch();
    this.#state = 'connected';
    // Ordering: every view takes its locks again before any of them asks for another.
    for (const channel of this.#channels.values()) this.#openChannel(channel);
    hub.memory.state = 'connected';
    for (const channel of this.#channels.values()) channel.connected();
    this.#hasBeenConnected = true;
    this.#heardMs = this.#clock.now();
    this.#schedulePing(socket);
    if (isFirst) this.#options.onFirst(undefined);
    else log('info', 'connected again');
  }

  #openChannel(channel: ClientChannel): void {
    const { number } = channel;
    const { locks, watches } = channel.resume();
    this.#socket?.send(0, openChannelPacket({ channel: number, isReadOnly: this.#options.isReadOnly, locks, watches }));
  }

  #ended(address: Address, reason: Error | undefined, isHopeless: boolean): void {
    this.#timer?.cancel();
    this.#socket = undefined;
    if (this.#state === 'closed') return;
    const where = formatAddress(address);
    const why = reason?.message ?? 'the other side closed the connection';
    if (this.#state === 'connected') {
      this.#options.log('info', `the connection to ${where} was lost: ${why}`);
      this.#lose(`the connection to ${where} was lost: ${why}`);
    }
    this.#lastFailure = `${where}: ${why}`;
    if (!this.#hasBeenConnected) this.#options.onAttempt(this.#lastFailure);
    if (isHopeless && !this.#hasBeenConnected) {
      this.#options.onFirst(reason && namingServer(reason, where));
      return;
    }
    let pauseMs = this.#reconnect.nextPauseMs();
    if (this.#isServerBehind) {
      this.#options.log('critical', `${where} is not used: ${why}`);
      pauseMs = BEHIND_PAUSE_MS;
    } else if (isHopeless) {
      this.#options.log('error', `${where} refused the connection: ${why}`);
    }
    this.#isServerBehind = false;
    this.#state = 'pausing';
    this.#timer = this.#clock.schedule(pauseMs, () => this.#attempt());
    this.#scheduleGiveUp();
  }

  #lose(detail: string): void {
    this.hub.memory.state = 'disconnected';
    this.#pings.clear();
    for (const channel of this.#channels.values()) channel.lost(detail);
  }

  #schedulePing(socket: FrameSocket): void {
    this.#timer = this.#clock.schedule(PING_INTERVAL_MS, () => {
      const nowMs = this.#clock.now();
      if (socket.bytesIn !== this.#heardBytes) {
        this.#heardBytes = socket.bytesIn;
        this.#heardMs = nowMs;
      }
      if (nowMs - this.#heardMs > SILENCE_MAX_MS) {
        socket.destroy(new ClientDisconnected(`nothing was heard for ${SILENCE_MAX_MS} ms`));
        return;
      }
      this.#lastPing = (this.#lastPing + 1) & 0x7fff_ffff;
      this.#pings.set(this.#lastPing, nowMs);
      socket.send(0, pingPacket(this.#lastPing));
      this.#schedulePing(socket);
    });
  }

  /** The difference to the storage's clock, from the quickest answer of late: it leaves the least room for error. */
  #setClock(askedMs: number, storageMs: number): void {
    const nowMs = this.#clock.now();
    const roundTripMs = Math.max(nowMs - askedMs, 0);
    if (roundTripMs > this.#bestRoundTripMs) {
      this.#bestRoundTripMs *= 1.2;
      return;
    }
    this.#bestRoundTripMs = roundTripMs + 0.1;
    this.hub.memory.clockOffsetMs = storageMs - (askedMs + roundTripMs / 2);
  }

  /** Promises that wait for a connection do so for a limited time. */
  #scheduleGiveUp(): void {
    if (this.#giveUpTimer !== undefined || this.#state === 'connected') return;
    let deadlineMs = Number.POSITIVE_INFINITY;
    for (const { nextDeadlineMs } of this.#channels.values()) deadlineMs = Math.min(deadlineMs, nextDeadlineMs);
    if (deadlineMs === Number.POSITIVE_INFINITY) return;
    this.#giveUpTimer = this.#clock.schedule(Math.max(deadlineMs - this.#clock.now(), 1), () => {
      this.#giveUpTimer = undefined;
      const detail = `no connection within ${this.#options.waitTimeoutMs} ms (${this.#lastFailure})`;
      for (const channel of this.#channels.values()) channel.giveUp(this.#clock.now(), detail);
      this.#scheduleGiveUp();
    });
  }

  #beat(): void {
    this.hub.memory.beat();
    this.#heartbeat = this.#clock.schedule(HEARTBEAT_MS, () => this.#beat());
  }
}

/** The same error, with whose answer it was: an address with a typing error in it is found by that. */
function namingServer(error: Error, where: string): Error {
  const cls: unknown = error.constructor;
  if (cls === ProtocolError) return new ProtocolError(`${where}: ${error.message}`, { cause: error });
  if (cls === StorageError) return new StorageError(`${where}: ${error.message}`, { cause: error });
  return error;
}
