import { testClients } from './clients.js';

testClients('LevelStorage');
