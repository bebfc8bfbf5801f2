import { getHeapStatistics } from 'node:v8';

/** Beyond what V8 lets buffers take before it marks: 64 MiB. */
const PRESSURE_BYTES = 128 * 1024 * 1024;

/** Bytes of objects on the heap, garbage included. */
export function heapBytes(): number {
  return getHeapStatistics().used_heap_size;
}

/**
 * Has the garbage collector look at the whole heap soon, beside what goes on: it cannot know that something waits for what it finds to be
 * dead. A hint, which changes no setting of the process.
 *
 * It is a buffer that is let go of at once, without being touched: it takes addresses, and no memory. V8 begins to mark when buffers
 * have grown by that much.
 */
export function suggestCollection(): void {
  try {
    new ArrayBuffer(PRESSURE_BYTES);
  } catch {
    // There are no such addresses: then memory is short, and the collector knows.
  }
}
