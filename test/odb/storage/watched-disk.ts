import { machineDisk } from '#src/odb/storage/level/directory.js';
import type { Disk, HeldDirectory, Level } from '#src/odb/storage/level/disk.js';

/** The machine's disk, with a LevelDB of which some methods are others. */
export function watchedDisk(overrides: (level: Level) => Partial<Level>): Disk {
  const watched = (level: Level): Level => overriding(level, overrides(level));
  return {
    hold: (place, options) => {
      const held = machineDisk.hold(place, options);
      return overriding<HeldDirectory>(held, { openLevel: (how) => held.openLevel(how).then(watched) });
    },
  };
}

/** An object, some of whose methods are others. */
export function overriding<T extends object>(target: T, overrides: Partial<T>): T {
  return new Proxy(target, {
    get: (_, name) => {
      const value = (overrides as Record<PropertyKey, unknown>)[name] ?? Reflect.get(target, name, target);
      return typeof value === 'function' ? value.bind(target) : value;
    },
  });
}
