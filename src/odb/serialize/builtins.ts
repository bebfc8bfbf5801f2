import { type Nameable, registerInternal } from './registry.js';

/** Built-in classes and functions that records may name, as `js.<name>`. */
const CLASSES: readonly Nameable[] = [
  Object,
  Array,
  Map,
  Set,
  Date,
  RegExp,
  URL,
  Error,
  EvalError,
  RangeError,
  ReferenceError,
  SyntaxError,
  TypeError,
  URIError,
  AggregateError,
  String,
  Number,
  Boolean,
  BigInt,
];

registerInternal({
  ...Object.fromEntries(CLASSES.map((cls) => [`js.${cls.name}`, cls])),
  'js.DOMException': DOMException,
  'js.Date.now': Date.now,
  'js.Math.max': Math.max,
  'js.Math.min': Math.min,
  'js.Math.random': Math.random,
  'js.Math.hypot': Math.hypot,
  'js.Math.sqrt': Math.sqrt,
  'js.Math.pow': Math.pow,
  'js.Math.floor': Math.floor,
  'js.JSON.parse': JSON.parse,
  'js.JSON.stringify': JSON.stringify,
  'js.parseInt': Number.parseInt,
  'js.parseFloat': Number.parseFloat,
});
