// What the machine must have, looked at before anything is made.
import { accessSync, constants, readFileSync } from 'node:fs'
import { networkInterfaces } from 'node:os'
import { delimiter, join } from 'node:path'
import type { NodeConfig } from './config.ts'
import { CommandError } from './errors.ts'

const ofRuntime: Record<string, string> = { runc: 'runc', conmon: 'conmon' }
const programs: Record<string, string> = {
  iptables: 'iptables',
  'iptables-restore': 'iptables',
}

/** @throws CommandError when not root */
export function checkRoot(): void {
  if (process.getuid?.() !== 0) {
    throw new CommandError('a node needs root: it makes namespaces, mounts and rules', 'run it again with sudo')
  }
}

/** @throws CommandError when not root or a program is missing */
export function checkMachine({ parts }: Pick<NodeConfig, 'parts'>): void {
  checkRoot()
  const needed = { ...(parts.includes('runtime') && ofRuntime), ...programs }
  const missing = Object.entries(needed).filter(([program]) => !onPath(program))
  if (missing.length === 0) return
  const packages = [...new Set(missing.map(([, name]) => name))].join(' ')
  throw new CommandError(
    `not on the PATH: ${missing.map(([program]) => program).join(', ')}`,
    `apt-get install ${packages}`,
  )
}

function onPath(program: string): boolean {
  const folders = [...(process.env.PATH ?? '').split(delimiter), '/usr/sbin', '/sbin', '/usr/local/sbin']
  return folders.some((folder) => {
    try {
      accessSync(join(folder, program), constants.X_OK)
      return true
    } catch {
      return false // not there: the next folder may have it
    }
  })
}

/** The address of the interface with the default route, else the first that others can reach, else loopback. */
export function defaultNodeIPs(routes: string = readFileSync('/proc/net/route', 'utf8')): string[] {
  const interfaces = networkInterfaces()
  const line = routes.split('\n').find((row) => row.split('\t')[1] === '00000000')
  const preferred = line?.split('\t')[0]
  const names = [...(preferred ? [preferred] : []), ...Object.keys(interfaces)]
  const addresses = names.flatMap((name) => interfaces[name] ?? [])
  const found = addresses.find(({ family, internal }) => family === 'IPv4' && !internal)
  return [found?.address ?? '127.0.0.1']
}
