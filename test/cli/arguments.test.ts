import assert from 'node:assert/strict';
import { test } from 'node:test';
import { listenAddress, refuseOpenAddress, serverUri } from '#src/cli/address.js';
import { agentsOf, parseAgent } from '#src/cli/agent-options.js';
import { explain, UsageError } from '#src/cli/output.js';

test('an address that is none is a usage error that shows the forms', () => {
  for (const text of ['', 'foo', 'host:', ':', '70000', 'host:70000', '-1', '1.5', 'a:b:9999']) {
    assert.throws(
      () => listenAddress(text),
      (error) => error instanceof UsageError && error.message.includes(`'${text}'`) && error.message.includes('9999'),
      text,
    );
  }
});

test('only addresses of this machine need no consent', () => {
  for (const text of ['9999', '127.0.0.1:9999', '127.1.2.3:1', 'localhost:9999', '[::1]:9999', './zeo.sock']) {
    refuseOpenAddress(listenAddress(text));
  }
  for (const text of ['0.0.0.0:9999', '[::]:9999', 'db.example:9999', '10.0.0.1:9999']) {
    assert.throws(
      () => refuseOpenAddress(listenAddress(text)),
      (error) => error instanceof UsageError && error.message.includes('--insecure'),
      text,
    );
  }
});

test('a server is named by host, port and storage', () => {
  assert.equal(serverUri('127.0.0.1:9999'), 'zeo://127.0.0.1:9999');
  assert.equal(serverUri('9999'), 'zeo://127.0.0.1:9999');
  assert.equal(serverUri('db:9999/2'), 'zeo://db:9999/2');
  assert.equal(serverUri('zeo://db:9999/2'), 'zeo://db:9999/2');
  for (const text of ['', 'db', '9999/1/2', '/9999']) assert.throws(() => serverUri(text), UsageError, text);
});

test('an agent is read from NAME=SIZE and its options', () => {
  assert.deepEqual(parseAgent('main=3'), { name: 'main', size: 3 });
  assert.deepEqual(parseAgent('pi=1,chooser=pi.chooseSample,pool=inline'), {
    name: 'pi',
    size: 1,
    chooser: 'pi.chooseSample',
    pool: 'inline',
  });
  assert.deepEqual(parseAgent('a-b c=0,filter=x.y'), { name: 'a-b c', size: 0, filter: 'x.y' });
});

test('a wrong agent is a usage error that names what is wrong', () => {
  const cases: [string, RegExp][] = [
    ['', /no name and size/],
    ['main', /no name and size/],
    ['=3', /no name and size/],
    ['main=', /'' is no size/],
    ['main=x', /'x' is no size/],
    ['main=-1', /'-1' is no size/],
    ['main=1.5', /'1.5' is no size/],
    ['main=1e3', /'1e3' is no size/],
    ['main=3,', /'' is none of its options/],
    ['main=3,chooser=', /'chooser=' is none of its options/],
    ['main=3,colour=red', /'colour=red' is none/],
    ['main=3,pool=carpool', /'carpool' is no pool/],
    ['main=3,pool=inline,pool=threads', /pool is given twice/],
    ['main=3,chooser=a.b,filter=c.d', /a chooser or a filter, not both/],
  ];
  for (const [text, message] of cases) {
    assert.throws(
      () => parseAgent(text),
      (error) => error instanceof UsageError && message.test(error.message),
      text,
    );
  }
});

test('--size and --pool stand for the agent main, once', () => {
  assert.deepEqual(agentsOf({ agent: [] }), []);
  assert.deepEqual(agentsOf({ agent: [], size: 5 }), [{ name: 'main', size: 5 }]);
  assert.deepEqual(agentsOf({ agent: [{ name: 'pi', size: 1 }], pool: 'inline' }), [
    { name: 'main', pool: 'inline' },
    { name: 'pi', size: 1 },
  ]);
  assert.throws(() => agentsOf({ agent: [{ name: 'main', size: 1 }], size: 5 }), UsageError);
  assert.throws(() => agentsOf({ agent: [{ name: 'a' }, { name: 'a' }] }), /given twice/);
});

test('an error is explained in one line, with what caused it', () => {
  const cause = new Error('connect ECONNREFUSED\n 127.0.0.1:1');
  assert.equal(explain(new Error('no server', { cause })), 'no server: connect ECONNREFUSED 127.0.0.1:1');
  assert.equal(explain(new Error('it says: inner', { cause: new Error('inner') })), 'it says: inner');
  assert.equal(explain(new AggregateError([new Error('a'), new Error('b')])), 'a, b');
  assert.equal(explain('text'), 'text');
  const circular = new Error('round');
  circular.cause = circular;
  assert.equal(explain(circular), 'round');
});
