import { closeSync, constants, fdatasyncSync, ftruncateSync, openSync, readSync, writeSync } from 'node:fs';
import type { SmallFile } from './disk.js';

/** Opens a small file of the machine's file system. */
export function openSmallFile(path: string): SmallFile {
  const fd = openSync(path, constants.O_RDWR | constants.O_CREAT);
  return {
    read: (count) => {
      const bytes = Buffer.alloc(count);
      return readSync(fd, bytes, 0, count, 0) === count ? bytes : undefined;
    },
    write: (bytes) => {
      writeSync(fd, bytes, 0, bytes.length, 0);
    },
    sync: () => fdatasyncSync(fd),
    clear: () => ftruncateSync(fd, 0),
    close: () => closeSync(fd),
  };
}
