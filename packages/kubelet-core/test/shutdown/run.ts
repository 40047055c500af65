// A shutdown manager with a real logind on a bus of its own, in namespaces of its own; prints what happens as JSON.
import { spawn, spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Pod } from 'kubernetes-types/core/v1.d.ts'
import { runAlone } from '../../../../bench/alone.ts'
import { systemClock } from '../../src/clock.ts'
import { silentLogger } from '../../src/log.ts'
import { systemLogind } from '../../src/shutdown/logind.ts'
import { createShutdownManager } from '../../src/shutdown/manager.ts'

process.env['DBUS_SYSTEM_BUS_ADDRESS'] = 'unix:path=/run/nodelet-test/bus'
runAlone('mount -t tmpfs none /run; mount -t tmpfs none /etc/systemd; mkdir -p /run/nodelet-test /run/systemd')

async function until(look: () => boolean, what: string): Promise<void> {
  for (const deadline = Date.now() + 20_000; !look();) {
    if (Date.now() > deadline) throw new Error(`waited for ${what}`)
    await new Promise((resolve) => setTimeout(resolve, 20))
  }
}
const call = (...args: string[]): string => spawnSync(args[0] ?? '', args.slice(1), { encoding: 'utf8' }).stdout
const inhibitors = (): string => call('systemd-inhibit', '--list', '--no-pager')
const place = ['/org/freedesktop/login1', 'org.freedesktop.login1.Manager', 'PrepareForShutdown']
const announce = (begins: boolean): string => call('busctl', '--system', 'emit', ...place, 'b', String(begins))

const root = '/run/nodelet-test/root'
mkdirSync(root, { recursive: true })
const config = join(import.meta.dirname, 'bus.conf')
const bus = spawn('dbus-daemon', [`--config-file=${config}`, '--nofork', '--nopidfile'], { stdio: 'ignore' })
await until(() => existsSync('/run/nodelet-test/bus'), 'the bus')
const daemon = spawn('/lib/systemd/systemd-logind', [], { stdio: 'ignore' })
await until(() => call('busctl', '--system', 'list').includes('org.freedesktop.login1'), 'logind')

const said: unknown[] = []
const pod = (name: string, priority: number, grace: number): Pod => ({
  metadata: { name },
  spec: { containers: [], priority, terminationGracePeriodSeconds: grace },
})
const manager = createShutdownManager({
  rootDir: root,
  groups: [
    { priority: 0, seconds: 5 },
    { priority: 1000, seconds: 3 },
  ],
  logind: systemLogind(),
  pods: () => [pod('critical', 1000, 10), pod('web', 0, 2), pod('batch', -5, 60)],
  async end({ metadata }, { reason }, graceSeconds) {
    said.push([metadata?.name, reason, graceSeconds])
    await new Promise((resolve) => setTimeout(resolve, 50))
  },
  changed: () => void said.push(['shutting down', manager.shuttingDown]),
  events: { recordNode: ({ reason }) => void said.push(['event', reason]) },
  clock: systemClock,
  log: { ...silentLogger, warn: (_fields, text) => void said.push(['warning', text]) },
})
manager.start()
await until(() => inhibitors().includes('kubelet'), 'the lock')
said.push(['held', true])
const delay = (): string =>
  call('busctl', '--system', 'get-property', 'org.freedesktop.login1', ...place.slice(0, 2), 'InhibitDelayMaxUSec')
await until(() => delay() === 't 8000000\n', 'a longer delay') // before it was 5 s
// The monitor may still be on its way to the bus.
await until(() => {
  if (said.length < 3) announce(true)
  return said.some((one) => JSON.stringify(one).startsWith('["critical"'))
}, 'the end of pods')
await until(() => !inhibitors().includes('kubelet'), 'the lock to be given back')
said.push(['held', false])
said.push([
  'state',
  Object.keys(JSON.parse(readFileSync(join(root, 'graceful_node_shutdown_state'), 'utf8')) as object),
])
announce(false)
await until(() => inhibitors().includes('kubelet'), 'the lock again')
said.push(['held', true])
await manager.close()
await until(() => !inhibitors().includes('kubelet'), 'the lock to be given back at the end')
console.log(JSON.stringify(said))
daemon.kill()
bus.kill()
process.exit()
