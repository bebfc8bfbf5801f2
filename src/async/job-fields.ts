/** The fields of a job in the order in which they are stored. New ones are added at the end. */
export const FIELDS = [
  '_callable',
  '_args',
  '_status',
  '_parent',
  '_beginAfter',
  '_activeStart',
  '_activeEnd',
  '_result',
  '_callbacks',
  '_beginBy',
  '_quotaNames',
  '_innerJob',
  '_annotations',
  '_assignerUuid',
  '_failureLogLevel',
  '_retryPolicyFactory',
  '_retryPolicy',
  '_initialCallbacksEnd',
  '_actsFor',
] as const;
export type FieldName = (typeof FIELDS)[number];
/** For telling the fields of a subclass. */
export const FIELD_SET: ReadonlySet<string> = new Set(FIELDS);
/** Where each field stands. */
export const INDEX = Object.fromEntries(FIELDS.map((name, index) => [name, index])) as Record<FieldName, number>;

/** The fields of a job in their order, and those of a subclass by name. */
export type StoredJob = readonly [fields: readonly unknown[], more?: Readonly<Record<string, unknown>>];
