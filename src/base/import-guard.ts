/** What a module tried to begin while it was imported only for what it defines. */
type Refusal = (what: string) => Error;

let refusal: Refusal | undefined;
let refused: Error | undefined;

/**
 * To be called first by whatever begins a program's own work: opening a database, starting a dispatcher, listening on a
 * port. Throws while a module is imported under {@link importingDefinitions}; costs nothing otherwise.
 */
export function refuseDuringImport(what: string): void {
  if (!refusal) return;
  refused ??= refusal(what);
  throw refused;
}

/**
 * Runs `load`, which imports modules for the functions and classes that they define, never to run a program again:
 * meanwhile {@link refuseDuringImport} throws what `error` makes. When it did, `load` fails with that, even if the
 * module swallowed it.
 */
export async function importingDefinitions<T>(error: Refusal, load: () => Promise<T>): Promise<T> {
  const outer = { refusal, refused };
  refusal = error;
  refused = undefined;
  try {
    const value = await load();
    if (refused) throw refused;
    return value;
  } finally {
    ({ refusal, refused } = outer);
  }
}
