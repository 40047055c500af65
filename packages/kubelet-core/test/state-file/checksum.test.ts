// Files that Go kubelets wrote, found in public: their checksums must be ours.
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, it, test } from 'vitest'
import { readCpuState, writeCpuState } from '../../src/cpu/state.ts'
import { readDeviceCheckpoint, writeDeviceCheckpoint } from '../../src/device/checkpoint.ts'
import { type MemoryState, readMemoryState, writeMemoryState } from '../../src/memory/state.ts'

let folder: string
let path: string
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'state-'))
  path = join(folder, 'state')
})
afterEach(async () => rm(folder, { recursive: true, force: true }))

test.each([
  '{"policyName":"none","defaultCpuSet":"","checksum":1353318690}',
  '{"policyName":"static","defaultCpuSet":"0-27","checksum":273146150}',
])('cpu_manager_state %s', async (text) => {
  await writeFile(path, text)
  const state = await readCpuState(path)
  expect(state).toBeDefined()
  if (state) await writeCpuState(path, state)
  expect(await readFile(path, 'utf8')).toBe(text)
})

test('memory_manager_state without a policy', async () => {
  const text = '{"policyName":"None","machineState":{},"checksum":4236770233}'
  await writeFile(path, text)
  const state = await readMemoryState(path)
  expect(state).toBeDefined()
  if (state) await writeMemoryState(path, state)
  expect(await readFile(path, 'utf8')).toBe(text)
})

test('memory_manager_state with memory that was given out', async () => {
  const memory = { total: 2048, systemReserved: 512, allocatable: 1536, reserved: 512, free: 1024 }
  const state: MemoryState = {
    policyName: 'static' as 'Static', // as the case has it that the checksum is known of
    machineState: { 0: { numberOfAssignments: 0, memoryMap: { memory }, cells: [] } },
    entries: { pod: { container1: [{ numaAffinity: [0], type: 'memory', size: 512 }] } },
  }
  await writeMemoryState(path, state)
  expect(JSON.parse(await readFile(path, 'utf8'))).toEqual({ ...state, checksum: 4215593881 })
  await writeMemoryState(path, { ...state, policyName: 'Static' })
  expect(await readMemoryState(path)).toMatchObject({ ...state, policyName: 'Static' })
})

test.each([
  '{"Data":{"PodDeviceEntries":null,"RegisteredDevices":{"nvidia.com/gpu":["GPU-0650a168-e770-3ea8-8ac3-8a1d419763e0"]}},"Checksum":3952659280}',
  '{"Data":{"PodDeviceEntries":[{"PodUID":"bf52b2cd-b611-4e79-86b1-280b283185c3","ContainerName":"check","ResourceName":"nvidia.com/gpu","DeviceIDs":{"-1":["tegra"]},"AllocResp":"Ch8KFk5WSURJQV9WSVNJQkxFX0RFVklDRVMSBXRlZ3Jh"}],"RegisteredDevices":{"nvidia.com/gpu":["tegra"]}},"Checksum":3660592824}',
])('kubelet_internal_checkpoint %s', async (text) => {
  await writeFile(path, text)
  await writeDeviceCheckpoint(path, await readDeviceCheckpoint(path))
  expect(await readFile(path, 'utf8')).toBe(text)
})

it('what was changed by hand is refused, with the file and what to do', async () => {
  await writeFile(path, '{"policyName":"static","defaultCpuSet":"0-28","checksum":273146150}')
  await expect(readCpuState(path)).rejects.toThrow(`${path}: its checksum does not fit its content: drain this node`)
})
