// How large a page of memory is on this machine.
import { call } from './libc.ts'

const SC_PAGESIZE = 30

/** In bytes; mostly 4096. */
export const pageBytes = (): number => call('sysconf', 'page size', SC_PAGESIZE)
