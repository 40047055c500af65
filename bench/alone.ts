// Programs that need a machine of their own: its links, rules and mounts stay as they are, and no process stays, however
// they end.
import { spawnSync } from 'node:child_process'

const namespaces = ['-n', '-m', '-i', '-u', '-p', '-f', '--mount-proc', '--propagation', 'private']
const v2 = '/sys/fs/cgroup/unified'

/**
 * For crun, which refuses a machine with both versions of cgroups: here it has one, and what is made in the other's place
 * is lost.
 */
export const hideCgroup2 = `umount ${v2} 2>/dev/null && mount -t tmpfs none ${v2}`

/**
 * Runs this program again in new namespaces and ends with its exit code. Returns at once within them.
 * @param before shell commands to be run there first
 */
export function runAlone(before = ':'): void {
  if (process.env['NODELET_ALONE'] !== undefined) return
  // The shell is the first of the new processes: it reaps orphans.
  const script = `ip link set lo up; ${before}; "$@"; exit $?`
  const command = ['sh', '-c', script, 'sh', process.execPath, ...process.execArgv, ...process.argv.slice(1)]
  const env = { ...process.env, NODELET_ALONE: '1' }
  const { status } = spawnSync('unshare', [...namespaces, ...command], { stdio: 'inherit', env })
  process.exit(status ?? 1)
}
