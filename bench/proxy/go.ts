// The baseline: what the Go proxy writes, loaded by the same tool alone.
import { spawnSync } from 'node:child_process'
import { inNamespace } from '@nodelet/linux'
import { changedServices } from '@nodelet/proxy-rules'
import type { ServiceGraph } from '@nodelet/proxy-rules'
import { median } from '../figures.ts'
import type { GoTexts } from './modes.ts'

/** Infinity: it took longer than the limit and was ended. NaN: there was nothing to change then. */
export interface GoFigures {
  wholeMs: number
  changeMs: number
  wholeBytes: number
  changeBytes: number
}

export interface GoInput {
  texts: GoTexts
  netns: string
  before: ServiceGraph
  /** With other endpoints of one Service. */
  after: ServiceGraph
  /** Loads of the change, there and back. */
  times: number
  limitSeconds: number
}

export function measureGo({ texts: go, netns, before, after, times, limitSeconds }: GoInput): GoFigures {
  const [program, ...args] = go.loader
  const load = (input: string): number => {
    const began = performance.now()
    const options = { input, timeout: limitSeconds * 1000, killSignal: 'SIGKILL', encoding: 'utf8' } as const
    const { status, signal, stderr } = inNamespace('net', netns, () => spawnSync(program, args, options))
    if (signal !== null) return Number.POSITIVE_INFINITY
    if (status !== 0) throw new Error(`${program} failed with ${status}: ${stderr}`)
    return performance.now() - began
  }
  const changed = changedServices(before, after)
  const [whole, there, back] = [
    go.whole(before),
    go.partial(before, after, changed),
    go.partial(after, before, changed),
  ]
  const wholeMs = load(whole)
  const texts = Array.from({ length: Number.isFinite(wholeMs) ? times : 0 }, (_, at) => (at % 2 === 0 ? there : back))
  const [wholeBytes, changeBytes] = [Buffer.byteLength(whole), Buffer.byteLength(there)]
  return { wholeMs, changeMs: median(texts.map(load)), wholeBytes, changeBytes }
}
