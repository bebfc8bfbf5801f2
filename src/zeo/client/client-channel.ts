import {
  HEADER_BYTES,
  lostPacket,
  Message,
  newPacket,
  PacketReader,
  packetId,
  packetType,
  readValue,
  SYNC_ID_BIT,
  type ViewLink,
  valuePacket,
} from '../../odb/remote/index.js';

/** A request that waits for the connection. */
interface Waiting {
  readonly packet: Uint8Array;
  readonly deadlineMs: number;
}

/** What the I/O thread has to know of a request beside its id. */
interface UnderWay {
  readonly type: number;
  /** The lock that is asked for. */
  readonly lockName: string | undefined;
}

/** What a {@link ClientChannel} needs of the connection. */
export interface ChannelOwner {
  isConnected(): boolean;
  /** When a request that begins to wait now is given up. */
  deadlineMs(): number;
  send(channel: number, packet: Uint8Array): void;
}

/** Requests that only make sense on the connection where they began. */
const ON_ITS_CONNECTION: ReadonlySet<number> = new Set([
  Message.finish,
  Message.abort,
  Message.suspend,
  Message.unlock,
]);

/**
 * One view of the client: passes its packets on, and answers for the server where there is none.
 *
 * Without a connection, a thread that blocks is refused at once, promises wait for a limited time, and what only makes
 * sense on the connection where it began (finish, abort, suspend, unlock, what has no answer) is refused or dropped.
 */
export class ClientChannel {
  readonly number: number;
  readonly #link: ViewLink;
  readonly #owner: ChannelOwner;
  readonly #underWay = new Map<number, UnderWay>();
  #waiting: Waiting[] = [];
  readonly #locks = new Set<string>();
  readonly #watches = new Set<string>();
  #asked: readonly string[] = [];
  /** What the view told last of its oldest snapshot. */
  #snapshots: Uint8Array | undefined;
  #hadSession = false;

  constructor(number: number, link: ViewLink, owner: ChannelOwner) {
    this.number = number;
    this.#link = link;
    this.#owner = owner;
  }

  /** When the first request that waits for the connection is to be given up; infinite when none waits. */
  get nextDeadlineMs(): number {
    return this.#waiting[0]?.deadlineMs ?? Number.POSITIVE_INFINITY;
  }

  /** What the view had from its former session, and asks for again: locks that it holds, and those whose end it watches. */
  resume(): { readonly locks: readonly string[]; readonly watches: readonly string[] } {
    this.#asked = [...this.#locks];
    return { locks: this.#asked, watches: [...this.#watches] };
  }

  /** Takes a packet of the view. */
  fromView(packet: Uint8Array): void {
    const id = packetId(packet);
    const type = packetType(packet);
    if (id >= SYNC_ID_BIT) {
      if (this.#owner.isConnected()) this.#owner.send(this.number, packet);
      else this.#link.send(lostPacket(id, false, 'there is no connection to the server at present'));
      return;
    }
    if (type === Message.snapshots) this.#snapshots = packet;
    const lockName = this.#noteLocks(type, packet);
    if (this.#owner.isConnected()) {
      if (id !== 0) this.#underWay.set(id, { type, lockName });
      this.#owner.send(this.number, packet);
    } else if (id === 0) {
      if (type === Message.cancelLock) this.#withdraw(new PacketReader(packet).uint32());
    } else if (ON_ITS_CONNECTION.has(type)) {
      this.#link.send(lostPacket(id, false, 'the connection was lost meanwhile'));
    } else {
      this.#waiting.push({ packet, deadlineMs: this.#owner.deadlineMs() });
    }
  }

  /** Takes a packet of the server. Its bytes lie in a larger buffer. */
  fromServer(packet: Uint8Array): void {
    const id = packetId(packet);
    if (id < SYNC_ID_BIT && id !== 0) {
      const request = this.#underWay.get(id);
      if (request === undefined) return;
      this.#underWay.delete(id);
      if (request.lockName !== undefined && isGrant(request.type, packet)) this.#locks.add(request.lockName);
    }
    this.#link.send(packet);
  }

  /** The connection came about: sends what waited for it. */
  connected(): void {
    // Sessions may have ended while nobody could tell.
    if (this.#hadSession) for (const name of this.#watches) this.#link.send(valuePacket(Message.lockFell, 0, name));
    this.#hadSession = true;
    // A pack that somebody begins now has to know of them.
    if (this.#snapshots) this.#owner.send(this.number, this.#snapshots);
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const { packet } of waiting) this.fromView(packet);
  }

  /** Of the locks that were asked for again, others were faster with all but these. */
  resumed(got: readonly string[]): void {
    for (const name of this.#asked) if (!got.includes(name)) this.#locks.delete(name);
    this.#asked = [];
  }

  /** The connection was lost: nothing that is under way will be answered. */
  lost(detail: string): void {
    const { blockedId } = this.#link;
    if (blockedId !== 0) this.#link.send(lostPacket(blockedId, true, detail));
    for (const id of this.#underWay.keys()) this.#link.send(lostPacket(id, true, detail));
    this.#underWay.clear();
  }

  /** Gives up what has waited for the connection for too long. */
  giveUp(nowMs: number, detail: string): void {
    while (this.#waiting.length > 0 && (this.#waiting[0] as Waiting).deadlineMs <= nowMs) {
      this.#link.send(lostPacket(packetId((this.#waiting.shift() as Waiting).packet), false, detail));
    }
  }

  /** Keeps account of locks and watches; returns the name of the lock that is asked for. */
  #noteLocks(type: number, packet: Uint8Array): string | undefined {
    if (type < Message.tryLock || type > Message.unwatch || type === Message.cancelLock) return undefined;
    const name = readValue(packet) as string;
    if (type === Message.unlock) this.#locks.delete(name);
    else if (type === Message.watch) this.#watches.add(name);
    else if (type === Message.unwatch) this.#watches.delete(name);
    else return name;
    return undefined;
  }

  #withdraw(id: number): void {
    const index = this.#waiting.findIndex(({ packet }) => packetId(packet) === id);
    if (index < 0) return;
    this.#waiting.splice(index, 1);
    this.#link.send(newPacket(Message.answer, id, 0));
  }
}

function isGrant(type: number, packet: Uint8Array): boolean {
  if (packetType(packet) !== Message.answer) return false;
  return type === Message.lock || (packet.length > HEADER_BYTES && readValue(packet) === true);
}
