// A network with a DHCP server: a bridge in the machine's namespace, and pods with a link to it.
import { spawn } from 'node:child_process'
import type { ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { closeSync, existsSync, openSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect } from 'vitest'
import { makeMachine } from '../machine.ts'
import type { TestMachine } from '../machine.ts'

export interface DhcpNetwork extends AsyncDisposable {
  machine: TestMachine
  /** A new namespace whose eth0 leads to the server. */
  pod(name: string): string
  /** What the server said so far. */
  log(): string
  /** The addresses that were given back to it. */
  released(): string[]
  /** Starts the server, or one of other options in its place. */
  serve(...options: string[]): Promise<void>
  /** Starts one whose leases may be as short as seconds. */
  serveBriefly(seconds: number): Promise<void>
  stopServer(): Promise<void>
}

const range = '--dhcp-range=10.88.0.10,10.88.0.200,255.255.255.0,2m'

export function makeDhcpNetwork(): DhcpNetwork {
  const machine = makeMachine({})
  const { host, folder, run } = machine
  run(host, 'ip', 'link', 'add', 'br0', 'type', 'bridge')
  run(host, 'ip', 'addr', 'add', '10.88.0.1/24', 'dev', 'br0')
  run(host, 'ip', 'link', 'set', 'br0', 'up')
  const logFile = join(folder, 'server.log')
  let server: ChildProcess | undefined
  let pods = 0
  const log = (): string => (existsSync(logFile) ? readFileSync(logFile, 'utf8') : '')
  const stopServer = async (): Promise<void> => {
    if (server?.exitCode === null && server.signalCode === null) {
      server.kill('SIGKILL')
      await once(server, 'exit')
    }
    server = undefined
  }
  const start = async (...command: string[]): Promise<void> => {
    await stopServer()
    const out = openSync(logFile, 'a')
    server = spawn('nsenter', [`--net=${host}`, '--', ...command], { stdio: ['ignore', out, out] })
    closeSync(out)
    await expect.poll(() => run(host, 'ss', '-lun')).toMatch(/:67\s/)
  }
  return {
    machine,
    log,
    released: () =>
      [...log().matchAll(/DHCPRELEASE\(br0\) ([\d.]+) [\da-f:]+ *$/gm)].map(([, address = '']) => address),
    stopServer,
    serve: async (...options) =>
      start(
        'dnsmasq',
        '--no-daemon',
        '--conf-file=/dev/null',
        '--port=0',
        '--interface=br0',
        '--bind-dynamic',
        '--no-ping',
        '--user=root',
        '--pid-file=',
        '--dhcp-authoritative',
        '--log-dhcp',
        '--log-facility=-',
        `--dhcp-leasefile=${join(folder, 'server-leases')}`,
        ...(options.some((one) => one.startsWith('--dhcp-range')) ? [] : [range]),
        '--dhcp-option=option:router,10.88.0.1',
        ...options,
      ),
    serveBriefly: async (seconds) => {
      const lines = [
        'interface br0',
        'start 10.88.0.10',
        'end 10.88.0.20',
        `lease_file ${join(folder, 'udhcpd.leases')}`,
        `pidfile ${join(folder, 'udhcpd.pid')}`,
        'min_lease 1',
        `option lease ${seconds}`,
        'option subnet 255.255.255.0',
      ]
      writeFileSync(join(folder, 'udhcpd.leases'), '')
      writeFileSync(join(folder, 'udhcpd.conf'), lines.join('\n'))
      await start('busybox', 'udhcpd', '-f', join(folder, 'udhcpd.conf'))
    },
    pod: (name) => {
      const netns = machine.pod(name)
      const veth = `pod${(pods += 1)}`
      run(netns, 'ip', 'link', 'add', 'eth0', 'type', 'veth', 'peer', 'name', veth)
      run(netns, 'ip', 'link', 'set', veth, 'netns', host)
      run(host, 'ip', 'link', 'set', veth, 'master', 'br0', 'up')
      return netns
    },
    [Symbol.asyncDispose]: async () => {
      await stopServer()
      machine[Symbol.dispose]()
    },
  }
}
