import { argumentTypeError } from '../../base/index.js';
import { DuplicateNameError, ReservedNameError } from '../errors.js';

/** A function or a class, which is stored by its name. */
// biome-ignore lint/complexity/noBannedTypes: any function or class may be named
export type Nameable = Function;

const valueOfName = new Map<string, Nameable>();
const nameOfValue = new Map<Nameable, string>();
const modules = new Set<string>();

const RESERVED_PREFIXES = ['holdfast.', 'js.'];
const MODULE_NAME = /^[A-Za-z_$][\w$-]*(\.[A-Za-z_$][\w$-]*)*$/;

/**
 * Gives functions and classes of a module the names under which they are stored: `pi.generateSample`. Nothing else can be named by a
 * record, and nothing is ever imported because a record names it.
 *
 * @param moduleName first part of the names: part of what is stored, so it lasts for ever
 * @param meta `import.meta` of the module, so that worker threads can import it too
 * @param members what to name, by the second part of its name
 * @param options `aliases`: former names, in full, that still occur in records
 * @throws DuplicateNameError when a name is taken by something else. ReservedNameError for `holdfast.` and `js.`. TypeError
 * (`ARG_PERSISTABLE`) for what is neither a function nor a class.
 */
export function persistable(
  moduleName: string,
  meta: Pick<ImportMeta, 'url'>,
  members: Readonly<Record<string, Nameable>>,
  options: { readonly aliases?: Readonly<Record<string, Nameable>> } = {},
): void {
  if (typeof moduleName !== 'string' || !MODULE_NAME.test(moduleName)) {
    throw argumentTypeError(
      'ARG_PERSISTABLE',
      `'${String(moduleName)}' is no module name: use letters, digits and dots`,
    );
  }
  if (typeof meta?.url !== 'string') {
    throw argumentTypeError('ARG_PERSISTABLE', `persistable('${moduleName}', …): the second argument is import.meta`);
  }
  const named = Object.entries(members).map(([member, value]) => [`${moduleName}.${member}`, value] as const);
  const aliases = Object.entries(options.aliases ?? {});
  // All or nothing: a refused name leaves none of the others behind.
  for (const [name, value] of [...named, ...aliases]) {
    if (RESERVED_PREFIXES.some((prefix) => name.startsWith(prefix))) throw new ReservedNameError(name);
    requireFree(name, value);
  }
  for (const [name, value] of named) {
    valueOfName.set(name, value);
    if (!nameOfValue.has(value)) nameOfValue.set(value, name);
  }
  for (const [name, value] of aliases) valueOfName.set(name, value);
  modules.add(meta.url);
}

/** Names our own classes and functions, and built-in ones. For the modules that define them. */
export function registerInternal(members: Readonly<Record<string, Nameable>>): void {
  for (const [name, value] of Object.entries(members)) {
    requireFree(name, value);
    valueOfName.set(name, value);
    if (!nameOfValue.has(value)) nameOfValue.set(value, name);
  }
}

function requireFree(name: string, value: Nameable): void {
  if (typeof value !== 'function') {
    throw argumentTypeError('ARG_PERSISTABLE', `${name} is neither a function nor a class: only these have names`);
  }
  const taken = valueOfName.get(name);
  if (taken !== undefined && taken !== value) throw new DuplicateNameError(name);
}

/** The name under which a function or class is stored; `undefined` when it was given none. */
export function nameOf(value: Nameable): string | undefined {
  return nameOfValue.get(value);
}

/** The function or class that has this name in this process. */
export function resolveName(name: string): Nameable | undefined {
  return valueOfName.get(name);
}

/** URLs of the modules that were named to `persistable`, in order: what a worker thread imports. */
export function persistableModules(): readonly string[] {
  return [...modules];
}

/** The line that would give a value its name, for messages. */
export function registrationHint(value: Nameable, moduleName = '<module>'): string {
  return value.name
    ? `add to its module: persistable('${moduleName}', import.meta, { ${value.name} });`
    : "add to its module: persistable('<module>', import.meta, { name: … });";
}
