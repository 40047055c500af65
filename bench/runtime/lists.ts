// The calls that a kubelet repeats, at many pods.
import { isUnimplemented } from '@nodelet/cri-api'
import type { Times } from '../figures.ts'
import type { Peer } from './peers.ts'

const filter = undefined

const calls: Record<string, (peer: Peer) => Promise<unknown>> = {
  ListPodSandbox: async ({ client }) => client.runtimeService.listPodSandbox({ filter }),
  ListContainers: async ({ client }) => client.runtimeService.listContainers({ filter }),
  ListContainerStats: async ({ client }) => client.runtimeService.listContainerStats({ filter }),
  ListPodSandboxStats: async ({ client }) => client.runtimeService.listPodSandboxStats({ filter }),
  ListImages: async ({ client }) => client.imageService.listImages({ filter }),
}
export const listSteps: readonly string[] = Object.keys(calls)

export async function listOften(peer: Peer, rounds: number, times: Times): Promise<void> {
  for (const [name, call] of Object.entries(calls)) {
    try {
      for (let round = 0; round < rounds; round += 1) await times.of(name, async () => call(peer))
    } catch (error) {
      if (!isUnimplemented(error)) throw error
      // An older runtime: the table has a dash.
    }
  }
}
