import { testClients } from './clients.js';

testClients('DemoStorage');
