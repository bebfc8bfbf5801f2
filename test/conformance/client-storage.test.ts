import { testClients } from './clients.js';

testClients('MemoryStorage');
