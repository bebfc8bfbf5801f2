import assert from 'node:assert/strict';
import { test } from 'node:test';
import { formatAddress, parseAddress } from '#src/zeo/transport/address.js';
import { parseZeoUri } from '#src/zeo/uri.js';

test('addresses', () => {
  const cases: [string | number, unknown, string][] = [
    [9999, { kind: 'tcp', host: '127.0.0.1', port: 9999 }, '127.0.0.1:9999'],
    ['9999', { kind: 'tcp', host: '127.0.0.1', port: 9999 }, '127.0.0.1:9999'],
    [':9999', { kind: 'tcp', host: '127.0.0.1', port: 9999 }, '127.0.0.1:9999'],
    ['db.example.org:1', { kind: 'tcp', host: 'db.example.org', port: 1 }, 'db.example.org:1'],
    ['[::1]:80', { kind: 'tcp', host: '::1', port: 80 }, '[::1]:80'],
    ['zeo.sock', { kind: 'unix', path: 'zeo.sock' }, 'zeo.sock'],
    ['./run/zeo', { kind: 'unix', path: './run/zeo' }, './run/zeo'],
  ];
  for (const [text, address, formatted] of cases) {
    assert.deepEqual(parseAddress(text), address);
    assert.equal(formatAddress(parseAddress(text)), formatted);
    assert.deepEqual(parseAddress(formatted), address);
  }
  for (const wrong of ['', 'host', 'host:', 'host:65536', 'a:b:1', '-1', '1.5', '[::1', 'host:99999999']) {
    assert.throws(() => parseAddress(wrong), { name: 'RangeError', code: 'ARG_ADDRESS' }, wrong);
  }
});

test('URIs', () => {
  assert.deepEqual(parseZeoUri('zeo://127.0.0.1:9999'), { address: '127.0.0.1:9999', storage: undefined });
  assert.deepEqual(parseZeoUri('zeo://h:1/'), { address: 'h:1', storage: undefined });
  assert.deepEqual(parseZeoUri('zeo://[::1]:1/a%20b'), { address: '[::1]:1', storage: 'a b' });
  assert.deepEqual(parseZeoUri('zeo:/run/zeo.sock'), { address: '/run/zeo.sock', storage: undefined });
  assert.deepEqual(parseZeoUri('zeo:///run/zeo.sock#main'), { address: '/run/zeo.sock', storage: 'main' });
  assert.deepEqual(parseZeoUri('zeo:./zeo.sock'), { address: './zeo.sock', storage: undefined });
  for (const wrong of ['zeo:', 'zeo://', 'zeo:host:1', 'zeo://h:1/a/b', 'http://h:1']) {
    assert.throws(() => parseZeoUri(wrong), { code: 'ARG_ADDRESS' }, wrong);
  }
});
