import { Persistent, persistable } from 'holdfast/odb';

/** A small object: five fields, a record of about 100 bytes. */
export class Item extends Persistent {
  count = 0;
  name = 'an item of the benchmark';
  price = 2.5;
  note: string | null = null;
  text = 'some text that is a little longer than the name is';

  increment(): void {
    this.count++;
  }
}

persistable('bench', import.meta, { Item });
