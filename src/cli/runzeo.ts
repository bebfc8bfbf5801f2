#!/usr/bin/env -S UV_THREADPOOL_SIZE=16 node
import { run } from './run.js';

process.exit(await run('runzeo', process.argv.slice(2)));
