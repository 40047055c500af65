// One size in one mode, in a process of its own: its memory and event loop are those of this proxy alone. Started by
// proxy.ts, to which it tells its figures by a message, or as its last line.
import { mkdirSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { serviceGraph, startProxier } from '@nodelet/proxy-rules'
import type { Proxier, ServiceGraph } from '@nodelet/proxy-rules'
import { median } from '../figures.ts'
import { memoryOf, peakOf } from '../runtime/processes.ts'
import { openApi } from './api.ts'
import {
  clusterIP,
  endpointIP,
  endpointPort,
  servicePort,
  servicesOf,
  sliceOf,
  slicesOf,
  type Size,
} from './cluster.ts'
import { measureGo, type GoFigures } from './go.ts'
import { lateness, type Lateness } from './lateness.ts'
import { measured, nextLoad, type Load } from './loads.ts'
import { facts, modes } from './modes.ts'
import { makePlace, nodeIP, type Place } from './place.ts'

export interface CaseInput {
  mode: string
  size: Size
  /** Where the network namespaces are pinned. */
  folder: string
  /** Of one endpoint each. */
  changes: number
  /** For each kind of connection. */
  seconds: number
  /** For each load of the Go proxy's texts; 0: none. */
  limitSeconds: number
}

/** Milliseconds, bytes, MiB. */
export interface CaseFigures {
  /** Of the whole program, by themselves. */
  compileMs: number
  textMs?: number
  /** From the start of the proxy on. */
  whole: Load
  /** Each from the event of the API on. */
  changes: Load[]
  /** Of many endpoints at once, from the event of the API on. */
  storm: Load
  late: { whole: Lateness; changes: Lateness; storm: Lateness }
  /** After the storm, and the most so far. */
  residentMiB: number
  peakMiB: number
  connections: Connections
  go?: GoFigures
}

/** A second: without rules, and to the Services that are first and last in them. */
export interface Connections {
  plain: number
  first: number
  last: number
}

/** Longer than any rest of the proxy between two syncs. */
const restMs = 30
const slices = 3
const compilations = 3
/** Endpoints that change at once, if there are as many. */
const mostInStorm = 1000

const { mode: name, size, folder, changes, seconds, limitSeconds } = JSON.parse(process.argv[2] ?? '') as CaseInput
const mode = modes[name]
if (!mode) throw new RangeError(`mode: ${JSON.stringify(name)} is none`)
const api = await openApi(size)
const half = size.services >> 1
/** The numbers from here on are of no endpoint. */
const unused = size.services * size.endpoints
async function start(netns: string): Promise<Proxier> {
  const { client } = api
  const { localTraffic } = facts
  const options = { client, nodeName: 'bench', nodeIPs: [nodeIP], localTraffic, netns, minSyncPeriodMs: 1 }
  const proxier = await startProxier({ ...options, ...mode?.options })
  await proxier.synced()
  return proxier
}

/** @param first which change of all it is */
async function change(proxier: Proxier, index: number, first: number, count = 1): Promise<Load> {
  await sleep(restMs)
  return measured(async () => {
    const loaded = nextLoad(mode?.channel ?? 'nodelet:proxy:program')
    api.change({ index, count, unused: unused + first })
    await loaded
    // What came while the first of them were loaded is loaded after them.
    await sleep(count > 1 ? restMs : 0)
    await proxier.synced()
  })
}

/** In turns: what else the machine does meets all alike. */
async function connect(place: Place, bare: Place): Promise<Connections> {
  const asked = [
    { from: bare, address: endpointIP(0), port: endpointPort },
    { from: place, address: clusterIP(0), port: servicePort },
    { from: place, address: clusterIP(size.services - 1), port: servicePort },
  ]
  const rates: number[][] = asked.map(() => [])
  for (let slice = 0; slice < slices; slice += 1) {
    for (const [index, { from, address, port }] of asked.entries())
      rates[index]?.push(await from.connect(address, port, seconds / slices))
  }
  const [plain = Number.NaN, first = Number.NaN, last = Number.NaN] = rates.map((all) => median(all))
  return { plain, first, last }
}

function compile(graph: ServiceGraph): Pick<CaseFigures, 'compileMs' | 'textMs'> {
  const all = Array.from({ length: compilations }, () => {
    const began = performance.now()
    const program = mode?.compile(graph)
    const compiled = performance.now()
    mode?.text?.(program as never)
    return { compileMs: compiled - began, textMs: performance.now() - compiled }
  })
  const compileMs = median(all.map((one) => one.compileMs))
  return { compileMs, ...(mode?.text && { textMs: median(all.map((one) => one.textMs)) }) }
}

function graphs(): { before: ServiceGraph; after: ServiceGraph } {
  const [services, endpointSlices] = [servicesOf(size), slicesOf(size)]
  const input = { family: 'IPv4', nodeName: 'bench', zone: '', services } as const
  const before = serviceGraph({ ...input, endpointSlices })
  const changed = endpointSlices.with(half, sliceOf(half, size, unused))
  return { before, after: serviceGraph({ ...input, endpointSlices: changed }, before) }
}

async function measure(): Promise<CaseFigures> {
  // The guest has none.
  mkdirSync(folder, { recursive: true })
  await using place = await makePlace(`${folder}/proxy`)
  await using bare = await makePlace(`${folder}/bare`)
  let proxier: Proxier | undefined
  const nothing: Load = { ms: 0, toolMs: 0, bytes: 0 }
  let [whole, storm] = [nothing, nothing]
  const told: Load[] = []
  const late = {
    whole: await lateness(async () => {
      whole = await measured(async () => void (proxier = await start(place.netns)))
    }),
    changes: await lateness(async () => {
      for (let at = 0; at < changes && proxier; at += 1)
        told.push(await change(proxier, Math.floor((at * size.services) / changes), at))
    }),
    storm: await lateness(async () => {
      if (proxier) storm = await change(proxier, 0, changes, Math.min(mostInStorm, size.services))
    }),
  }
  const { resident } = memoryOf([process.pid])
  const peak = peakOf(process.pid)
  const connections = await connect(place, bare)
  await proxier?.close()
  const { before, after } = graphs()
  const input = { netns: bare.netns, before, after, times: 6, limitSeconds }
  return {
    ...compile(before),
    whole,
    changes: told,
    storm,
    late,
    residentMiB: resident,
    peakMiB: peak,
    connections,
    ...(limitSeconds > 0 && mode?.go && { go: measureGo({ ...input, texts: mode.go }) }),
  }
}

const figures = await measure()
if (process.send) process.send(figures)
else console.log(JSON.stringify(figures))
await api[Symbol.asyncDispose]()
process.exit()
