// runc behind a script that has it hang or fail where a test says so.
import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

/** What a call does instead: never end, die, refuse, or say what makes no sense. */
export type Fault = 'hang' | 'die' | 'refuse' | 'babble'

/** The calls of the OCI runtime. */
export type Call = 'create' | 'start' | 'exec' | 'kill' | 'delete' | 'update' | 'state' | 'list'

export interface FaultyRuntime extends Disposable {
  path: string
  /** From now on; nothing for the real one alone. */
  set(call?: Call, fault?: Fault): void
}

export function makeFaultyRuntime(): FaultyRuntime {
  const folder = mkdtempSync(join(tmpdir(), 'nf-'))
  const path = join(folder, 'oci-test')
  const faults = join(folder, 'faults')
  mkdirSync(faults)
  // It says that it is another program than runc: only those are asked for a start.
  writeFileSync(
    path,
    `#!/bin/sh
[ "$1" = --version ] && { echo 'oci-test version 1'; exit; }
for word in "$@"; do
  case "$word" in -*) ;; *) call=$word; break ;; esac
done
[ -e ${faults}/$call.hang ] && sleep 1000000
[ -e ${faults}/$call.die ] && kill -9 $$
[ -e ${faults}/$call.refuse ] && { echo '{"level":"error","msg":"the test refuses '$call'","time":"x"}' >&2; exit 1; }
[ -e ${faults}/$call.babble ] && { printf '%%%%{"\\t'; exit 0; }
exec runc "$@"
`,
  )
  chmodSync(path, 0o755)
  return {
    path,
    set: (call, fault) => {
      rmSync(faults, { recursive: true })
      mkdirSync(faults)
      if (call) writeFileSync(join(faults, `${call}.${fault}`), '')
    },
    [Symbol.dispose]: () => rmSync(folder, { recursive: true }),
  }
}
