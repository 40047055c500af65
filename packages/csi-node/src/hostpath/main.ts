// The hostpath driver as a program.
import { parseArgs } from 'node:util'
import { runDriver } from '../sdk/run-program.ts'
import { refused } from '../sdk/validate.ts'
import { createHostpathDriver } from './driver.ts'
import type { HostpathOptions } from './options.ts'

const usage = `nodelet-csi-hostpath: a CSI driver of folders and loop devices, registered with this node's kubelet

  --endpoint SOCKET         where it listens; default $CSI_ENDPOINT, else plugins/NAME/csi.sock below --root-dir
  --root-dir FOLDER         the kubelet's; default /var/lib/kubelet
  --no-register             do not register with the kubelet: a side-car does
  --drivername NAME         default hostpath.csi.k8s.io
  --statedir FOLDER         state and data; default plugins/NAME/data below --root-dir
  --nodeid NAME             default: the host's name
  --maxvolumespernode N     default 0: no limit
  --capacity KIND=SIZE      may come again; a size is bytes, or ends in Ki, Mi, Gi or Ti
  --max-volume-size SIZE    default 1Ti
  --enable-attach           volumes are attached by the controller first
  --attach-limit N          default 0: no limit
  --no-enable-topology      volumes are not bound to this node
`

const flags = {
  endpoint: { type: 'string' },
  'root-dir': { type: 'string' },
  register: { type: 'boolean', default: true },
  drivername: { type: 'string' },
  statedir: { type: 'string' },
  nodeid: { type: 'string' },
  maxvolumespernode: { type: 'string' },
  capacity: { type: 'string', multiple: true },
  'max-volume-size': { type: 'string' },
  'enable-attach': { type: 'boolean' },
  'attach-limit': { type: 'string' },
  'enable-topology': { type: 'boolean', default: true },
  help: { type: 'boolean', short: 'h' },
} as const

const units: Record<string, number> = { '': 1, Ki: 2 ** 10, Mi: 2 ** 20, Gi: 2 ** 30, Ti: 2 ** 40 }

function bytes(flag: string, text: string): number {
  const [, digits = '', unit = ''] = /^(\d+)(Ki|Mi|Gi|Ti)?$/.exec(text) ?? []
  if (digits === '') throw refused(`${flag} ${text}: bytes, or a number with Ki, Mi, Gi or Ti`)
  return Number(digits) * (units[unit] ?? 1)
}

function count(flag: string, text: string): number {
  if (/^\d+$/.test(text)) return Number(text)
  throw refused(`${flag} ${text}: must be a whole number from 0 on`)
}

function capacities(values: readonly string[]): Record<string, number> {
  return Object.fromEntries(
    values.map((value) => {
      const [kind = '', size = ''] = value.split('=')
      if (kind === '' || size === '') throw refused(`--capacity ${value}: must be KIND=SIZE`)
      return [kind, bytes('--capacity', size)]
    }),
  )
}

/** Options of the driver, and where it serves. @throws Error that names the flag */
export function readFlags(args: readonly string[]): {
  options: HostpathOptions
  serving: { endpoint?: string; rootDir: string; register: boolean }
  isHelp: boolean
} {
  const { values } = parseArgs({ args: [...args], options: flags, allowNegative: true })
  const { drivername: name = 'hostpath.csi.k8s.io', 'root-dir': rootDir = '/var/lib/kubelet' } = values
  return {
    isHelp: values.help ?? false,
    serving: {
      rootDir,
      register: values.register,
      ...(values.endpoint !== undefined && { endpoint: values.endpoint }),
    },
    options: {
      name,
      stateDir: values.statedir ?? `${rootDir}/plugins/${name}/data`,
      enableTopology: values['enable-topology'],
      enableAttach: values['enable-attach'] ?? false,
      capacity: capacities(values.capacity ?? []),
      ...(values.nodeid !== undefined && { nodeId: values.nodeid }),
      ...(values.maxvolumespernode !== undefined && {
        maxVolumesPerNode: count('--maxvolumespernode', values.maxvolumespernode),
      }),
      ...(values['max-volume-size'] !== undefined && {
        maxVolumeSize: bytes('--max-volume-size', values['max-volume-size']),
      }),
      ...(values['attach-limit'] !== undefined && { attachLimit: count('--attach-limit', values['attach-limit']) }),
    },
  }
}

export async function main(args: readonly string[]): Promise<void> {
  try {
    const { options, serving, isHelp } = readFlags(args)
    if (isHelp) process.stdout.write(usage)
    else await runDriver(createHostpathDriver(options), serving)
  } catch (error) {
    console.error((error as Error).message)
    process.exitCode = 1
  }
}
