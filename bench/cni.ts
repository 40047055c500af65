// What joining a pod to its network costs: in process, by our programs, and by Debian's in the same run: `npm run bench:cni`. Needs
// root. All happens in namespaces of its own, and nothing of it stays.
import { execFileSync } from 'node:child_process'
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { parseArgs } from 'node:util'
import { createCni, defaultNetwork } from '@nodelet/cni-plugins'
import type { Cni } from '@nodelet/cni-plugins'
import { pinNamespaces, unpinNamespace } from '@nodelet/linux'
import { runAlone } from './alone.ts'
import { median, number, quantile, table, Times } from './figures.ts'

const { values } = parseArgs({
  options: {
    single: { type: 'string', default: '30' },
    'at-once': { type: 'string', default: '20,30' },
    rounds: { type: 'string', default: '3' },
    'no-debian': { type: 'boolean', default: false },
    help: { type: 'boolean', default: false },
  },
})
if (values.help) {
  console.log(`npm run bench:cni -- [options]
  --single 30      pods one by one
  --at-once 20,30  pods at once, --rounds 3 times each
  --no-debian      without the programs of Debian's containernetworking-plugins`)
  process.exit()
}
runAlone()

const debian = '/usr/lib/cni'
const [single, rounds] = [Number(values.single), Number(values.rounds)]
const bursts = values['at-once'].split(',').map(Number)
const folder = mkdtempSync(join(tmpdir(), 'nodelet-bench-cni-'))
const bridge = {
  type: 'bridge',
  bridge: 'plain0',
  isGateway: true,
  ipam: {
    type: 'host-local',
    ranges: [[{ subnet: '10.88.0.0/16' }]],
    routes: [{ dst: '0.0.0.0/0' }],
    dataDir: join(folder, 'addresses'),
  },
}
/** Whether masquerade and a mapped port are part of it. */
const networks = {
  'loopback, bridge, host-local': { cniVersion: '1.0.0', name: 'plain', plugins: [bridge] },
  'the same with masquerade and a mapped port': defaultNetwork({
    name: 'rules',
    bridge: 'rules0',
    subnets: ['10.89.0.0/16'],
  }),
}
type NetworkName = keyof typeof networks

interface Way {
  name: string
  cnis: Record<NetworkName, Cni>
  figures: Record<NetworkName, Times>
}

const ours = join(folder, 'bin')
execFileSync(resolve(import.meta.dirname, '../packages/cni-plugins/bin/nodelet-cni.cjs'), ['link', ours])

function openWay(name: string, binDir?: string): Way {
  const open = (network: NetworkName): Cni => {
    const place = join(folder, name.replaceAll(/\W/g, ''), Object.keys(networks).indexOf(network).toString())
    mkdirSync(join(place, 'net.d'), { recursive: true })
    writeFileSync(join(place, 'net.d/10-bench.conflist'), JSON.stringify(networks[network]))
    return createCni({
      confDir: join(place, 'net.d'),
      cacheDir: join(place, 'cache'),
      binDirs: binDir === undefined ? [] : [binDir],
      ...(binDir !== undefined && { plugins: [] }),
      log: { warn: (fields, message) => console.error(message, fields) },
    })
  }
  const each = <Value>(make: (network: NetworkName) => Value): Record<NetworkName, Value> =>
    Object.fromEntries(names.map((network) => [network, make(network)])) as Record<NetworkName, Value>
  return { name, cnis: each(open), figures: each(() => new Times()) }
}

const names = Object.keys(networks) as NetworkName[]
const ways = [
  openWay('in process'),
  openWay('our programs', ours),
  ...(!values['no-debian'] && existsSync(debian) ? [openWay("Debian's programs", debian)] : []),
]

interface Pod {
  containerId: string
  netns: string
  ifName: string
}
let made = 0
function makePod(): Pod {
  const containerId = `pod${(made += 1)}`
  const netns = join(folder, containerId)
  pinNamespaces({ paths: { net: netns } })
  return { containerId, netns, ifName: 'eth0' }
}
const portMappings = [{ hostPort: 8080, containerPort: 80, protocol: 'tcp' as const }]

/** @param namespaceGoes as when a sandbox is removed; else its links are deleted */
async function comeAndGo(way: Way, network: NetworkName, times: Times, namespaceGoes: boolean): Promise<void> {
  const [cni, pod] = [way.cnis[network], makePod()]
  await times.of('ADD', async () => cni.add({ ...pod, portMappings }))
  await times.of(namespaceGoes ? goes : 'DEL', async () => {
    await cni.del({ ...pod, namespaceGoes })
    if (namespaceGoes) unpinNamespace(pod.netns)
  })
  if (!namespaceGoes) unpinNamespace(pod.netns)
}
const goes = 'DEL, and the namespace goes'

async function oneByOne(network: NetworkName): Promise<void> {
  for (let round = 0; round < single + 2; round += 1) {
    for (const way of ways) {
      // The first two are for warmth.
      const times = round < 2 ? new Times() : way.figures[network]
      await comeAndGo(way, network, times, false)
      await comeAndGo(way, network, times, true)
    }
  }
}

async function atOnce(network: NetworkName, many: number): Promise<void> {
  for (let round = 0; round < rounds; round += 1) {
    for (const way of ways) {
      const [cni, times] = [way.cnis[network], way.figures[network]]
      const pods = Array.from({ length: many }, makePod)
      await times.of(`${many} pods at once: ADD of all`, async () =>
        Promise.all(
          pods.map(async (pod, at) =>
            cni.add({ ...pod, portMappings: [{ ...portMappings[0]!, hostPort: 9000 + at }] }),
          ),
        ),
      )
      await times.of(`${many} pods at once: DEL of all`, async () =>
        Promise.all(
          pods.map(async (pod) => {
            await cni.del({ ...pod, namespaceGoes: true })
            unpinNamespace(pod.netns)
          }),
        ),
      )
    }
  }
}

function rowsOf(network: NetworkName): string[][] {
  const all = ways.map(({ figures }) => figures[network])
  const theirs = all[2]
  const steps = [
    'ADD',
    'DEL',
    goes,
    ...bursts.flatMap((many) => ['ADD', 'DEL'].map((verb) => `${many} pods at once: ${verb} of all`)),
  ]
  const ratio = (times: Times | undefined, step: string): string =>
    times && theirs ? (median(times.get(step)) / median(theirs.get(step))).toFixed(2) : '–'
  return [
    [network, ...ways.map(({ name }) => name), 'ratios', ''],
    ...steps.map((step) => [
      `  ${step}`,
      ...all.map((times) => `${number(median(times.get(step)))} [${number(quantile(times.get(step), 0.9))}]`),
      ratio(all[0], step),
      ratio(all[1], step),
    ]),
    [],
  ]
}

try {
  for (const network of names) {
    process.stderr.write(`• ${network}\n`)
    await oneByOne(network)
    for (const many of bursts) await atOnce(network, many)
  }
  console.log(`ms, median [p90] of ${2 * single} ADDs and ${single} DELs one by one, of ${rounds} times at once`)
  console.log("ratios: in process and our programs to Debian's")
  console.log(table(names.flatMap(rowsOf)))
} finally {
  for (const { cnis } of ways) for (const cni of Object.values(cnis)) cni.close()
  for (let at = 1; at <= made; at += 1) unpinNamespace(join(folder, `pod${at}`))
  rmSync(folder, { recursive: true, force: true })
}
