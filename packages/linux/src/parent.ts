// The process that started this one.
import { call } from './libc.ts'

const PR_SET_PDEATHSIG = 1
const SIGKILL = 9

/** The kernel kills this process when the thread ends that started it, also while this one does not listen. @throws LinuxError */
export function endWithParent(): void {
  call('prctl', 'PR_SET_PDEATHSIG', PR_SET_PDEATHSIG, SIGKILL)
}
