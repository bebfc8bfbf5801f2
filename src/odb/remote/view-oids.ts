import { writeUint32, writeUint64 } from '../../base/index.js';
import { type Oid, ROOT_OID } from '../ids.js';
import { newPacket, readValue } from './codec.js';
import { HEADER_BYTES, Message, OIDS_PER_BLOCK } from './messages.js';
import type { ViewChannel } from './view-channel.js';

/** The oids that a view gives away: fetched by blocks, the next one before the last is used up. */
export class ViewOids {
  readonly #channel: ViewChannel;
  /** Ranges: start and count, in turn. */
  #ranges: number[] = [];
  #epoch = 0;
  #isFetching = false;

  constructor(channel: ViewChannel) {
    this.#channel = channel;
  }

  /** An oid that nobody has, above this one. Blocks where none is left. @throws ClientDisconnected. */
  next(above: Oid): Oid {
    const { hub } = this.#channel;
    // A server that was restored from a backup may give the rest of the range to somebody else.
    if (this.#epoch !== hub.epoch || (this.#ranges[0] ?? 0) <= above) this.#ranges = [];
    if (this.#ranges.length === 0) {
      this.#ranges = readValue(this.#channel.call((id) => oidsPacket(id, above))) as number[];
      this.#epoch = hub.epoch;
    }
    const oid = this.#ranges[0] as number;
    const left = (this.#ranges[1] as number) - 1;
    if (left === 0) this.#ranges.splice(0, 2);
    else {
      this.#ranges[0] = oid + 1;
      this.#ranges[1] = left;
    }
    if (this.#ranges.length <= 2 && left < OIDS_PER_BLOCK / 4) this.#fetch();
    return oid as Oid;
  }

  #fetch(): void {
    if (this.#isFetching) return;
    this.#isFetching = true;
    const { hub } = this.#channel;
    const { epoch } = hub;
    this.#channel
      .request(
        (id) => oidsPacket(id, ROOT_OID),
        (packet) => {
          if (epoch === hub.epoch && epoch === this.#epoch) this.#ranges.push(...(readValue(packet) as number[]));
        },
      )
      // The next call asks again, and says what is wrong.
      .catch(() => undefined)
      .finally(() => {
        this.#isFetching = false;
      });
  }
}

function oidsPacket(id: number, above: Oid): Uint8Array {
  const packet = newPacket(Message.newOids, id, 12);
  writeUint32(packet, HEADER_BYTES, OIDS_PER_BLOCK);
  writeUint64(packet, HEADER_BYTES + 4, above);
  return packet;
}
