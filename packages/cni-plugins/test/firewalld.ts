// Debian's firewalld and a bus of its own, on a test's machine.
import { spawn } from 'node:child_process'
import type { ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { cpSync, existsSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { vi } from 'vitest'
import { bus, openBus } from '../src/plugins/firewall/bus.ts'
import type { TestMachine } from './machine.ts'

const unpacked = join(import.meta.dirname, '../../../.nodelet/debian')
/** Where setup unpacks it, or where it is installed. */
const fileOf = (name: string, path: string): string =>
  existsSync(join(unpacked, name, path)) ? join(unpacked, name, path) : path

const busConfig = (
  socket: string,
): string => `<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig><type>system</type><listen>unix:path=${socket}</listen><auth>EXTERNAL</auth><policy context="default">
<allow user="*"/><allow own="*"/><allow send_type="method_call"/><allow send_destination="*"/><allow receive_sender="*"/>
</policy></busconfig>`

export interface TestBus extends AsyncDisposable {
  startFirewalld(): Promise<void>
}

/** The system's bus of this process from now on, until it is disposed. */
export async function startBus({ folder, host }: TestMachine): Promise<TestBus> {
  const socket = join(folder, 'bus')
  const address = `unix:path=${socket}`
  const env = { ...process.env, DBUS_SYSTEM_BUS_ADDRESS: address }
  const started: ChildProcess[] = []
  writeFileSync(join(folder, 'bus.conf'), busConfig(socket))
  const daemon = spawn('dbus-daemon', [`--config-file=${join(folder, 'bus.conf')}`, '--nofork', '--print-address=1'], {
    stdio: ['ignore', 'pipe', 'ignore'],
  })
  started.push(daemon)
  await once(daemon.stdout, 'data') // it listens
  vi.stubEnv('DBUS_SYSTEM_BUS_ADDRESS', address)
  return {
    async startFirewalld() {
      cpSync(fileOf('firewalld', '/etc/firewalld'), join(folder, 'firewalld'), { recursive: true })
      const python = ['python3-firewall', 'python3-nftables'].map((name) =>
        fileOf(name, '/usr/lib/python3/dist-packages'),
      )
      const folders = [
        '--system-config',
        join(folder, 'firewalld'),
        '--default-config',
        fileOf('firewalld', '/usr/lib/firewalld'),
      ]
      const command = [
        '/usr/bin/python3',
        fileOf('firewalld', '/usr/sbin/firewalld'),
        '--nofork',
        '--nopid',
        ...folders,
      ]
      const log = join(folder, 'firewalld.log')
      writeFileSync(log, '')
      const program = spawn('nsenter', [`--net=${host}`, '--', ...command, '--log-file', log], {
        env: { ...env, PYTHONPATH: python.join(':') },
        stdio: 'ignore',
      })
      started.push(program)
      await vi.waitFor(
        async () => {
          using open = await openBus(AbortSignal.timeout(5_000))
          await open.call({ ...bus, member: 'GetNameOwner', args: ['org.fedoraproject.FirewallD1'] })
        },
        { timeout: 60_000, interval: 100 },
      )
    },
    async [Symbol.asyncDispose]() {
      vi.unstubAllEnvs()
      for (const one of started.toReversed()) {
        if (one.exitCode !== null || one.signalCode !== null) continue
        one.kill('SIGKILL')
        await once(one, 'exit')
      }
    },
  }
}
