import { describe, expect, test } from 'vitest'
import { readFlags } from '../../src/hostpath/main.ts'
import { settingsOf } from '../../src/hostpath/options.ts'
import { pageOf } from '../../src/hostpath/page.ts'
import { planVolume, sizeOf } from '../../src/hostpath/plan.ts'
import { parseState } from '../../src/hostpath/records.ts'
import type { CreateVolumeRequest, VolumeCapability } from '../../src/sdk/types.ts'

const mount: VolumeCapability = {
  kind: 'mount',
  accessMode: 'SINGLE_NODE_WRITER',
  fsType: '',
  mountFlags: [],
  volumeMountGroup: '',
}
const xfs: VolumeCapability = { ...mount, fsType: 'xfs' }
const block: VolumeCapability = { kind: 'block', accessMode: 'SINGLE_NODE_WRITER' }
const request = (changes: Partial<CreateVolumeRequest>): CreateVolumeRequest => ({
  name: 'v',
  range: { requiredBytes: 0 },
  capabilities: [mount],
  parameters: {},
  mutableParameters: {},
  secrets: {},
  contentSource: undefined,
  topology: undefined,
  ...changes,
})
const settings = settingsOf({ nodeId: 'here', capacity: { fast: 2 ** 30 }, maxVolumeSize: 2 ** 31 })
const fast = { kind: 'fast' }
const mib = 2 ** 20

describe('what a volume is to be', () => {
  test.each<[string, Partial<CreateVolumeRequest>, object]>([
    ['a folder', {}, { backing: 'folder', fsType: '', sizeBytes: 0 }],
    [
      'an image',
      { parameters: { ...fast, backing: 'image' } },
      { backing: 'image', fsType: 'ext4', sizeBytes: 2 ** 30 },
    ],
    [
      'a device',
      { capabilities: [block], range: { requiredBytes: 1 } },
      { isBlock: true, fsType: '', sizeBytes: 4096 },
    ],
    [
      'xfs, as small as it gets',
      { capabilities: [xfs], parameters: { ...fast, backing: 'image' }, range: { requiredBytes: 1 } },
      { fsType: 'xfs', sizeBytes: 300 * mib },
    ],
    ['a folder, whatever file system is wanted', { capabilities: [xfs] }, { backing: 'folder', fsType: '' }],
    [
      'what the limit leaves',
      { capabilities: [block], range: { requiredBytes: 0, limitBytes: mib } },
      { sizeBytes: mib },
    ],
  ])('%s', (_name, changes, plan) => {
    expect(planVolume(request({ parameters: fast, ...changes }), settings, undefined)).toMatchObject(plan)
  })

  test.each<[string, Partial<CreateVolumeRequest>, string]>([
    ['both', { capabilities: [mount, block] }, 'volume_capabilities: block and mount exclude each other'],
    ['a parameter', { parameters: { size: '1' } }, 'parameters.size: this driver has the parameters backing and kind'],
    ['a backing', { parameters: { backing: 'tape' } }, 'parameters.backing tape: folder or image'],
    [
      'a folder as a device',
      { capabilities: [block], parameters: { backing: 'folder' } },
      'parameters.backing folder: a block volume is an image',
    ],
    ['no kind', { parameters: {} }, 'parameters.kind "": this driver has fast'],
    [
      'a file system',
      { capabilities: [{ ...mount, fsType: 'vfat' }], parameters: { ...fast, backing: 'image' } },
      'volume_capabilities.mount.fs_type vfat: an image has ext4 or xfs',
    ],
    [
      'more than there may be',
      { range: { requiredBytes: 2 ** 31 + 1 } },
      '2147483649 bytes are more than the largest volume, 2147483648',
    ],
    [
      'a limit that no image keeps',
      { capabilities: [block], range: { requiredBytes: 1, limitBytes: 2 } },
      'capacity_range.limit_bytes 2: the volume takes 4096',
    ],
  ])('refused: %s', (_name, changes, message) => {
    expect(() => planVolume(request({ parameters: fast, ...changes }), settings, undefined)).toThrow(message)
  })

  test('a copy is of the kind of its source, and not smaller', () => {
    const from = { data: '', backing: 'image', isBlock: true, fsType: '', sizeBytes: 8192 } as const
    expect(planVolume(request({ capabilities: [block], parameters: fast }), settings, from).sizeBytes).toBe(2 ** 30)
    const range = { requiredBytes: 4096 }
    expect(planVolume(request({ capabilities: [block], parameters: fast, range }), settings, from).sizeBytes).toBe(8192)
    expect(() => planVolume(request({ parameters: fast }), settings, from)).toThrow(
      'volume_content_source: it is of kind block, the volume is to be folder',
    )
  })

  test('what is not said of the size is as usual', () => {
    expect(sizeOf({ requiredBytes: 0 }, 100, { least: 0, step: 1, usual: 7 })).toBe(7)
  })
})

describe('the state on disk', () => {
  const volume = {
    id: 'v',
    name: 'n',
    data: '00000000-0000-0000-0000-000000000000',
    backing: 'folder',
    isBlock: false,
    fsType: '',
    sizeBytes: 1,
    kind: '',
    isEphemeral: false,
    grows: false,
    isDeleting: false,
    published: [],
  }
  const text = (changes: object): string =>
    JSON.stringify({ version: 1, volumes: [{ ...volume, ...changes }], snapshots: [] })

  test('is read as it was written', () => {
    expect(parseState('state.json', text({})).volumes.get('v')).toEqual(volume)
  })

  test.each<[string, string]>([
    ['', 'state.json is damaged: Unexpected end of JSON input'],
    ['null', 'state.json is damaged: version is not 1'],
    ['{"version":2}', 'state.json is damaged: version is not 1'],
    ['{"version":1}', 'state.json is damaged: volumes is not a list'],
    ['{"version":1,"volumes":[3],"snapshots":[]}', 'state.json is damaged: volumes[0] is not an object'],
    [text({ data: '../../etc' }), 'state.json is damaged: volumes[0].data is "../../etc"'],
    [text({ sizeBytes: -1 }), 'state.json is damaged: volumes[0].sizeBytes is -1'],
    [text({ published: [{}] }), 'state.json is damaged: volumes[0].published is [{}]'],
  ])('%s is refused', (damaged, message) => {
    expect(() => parseState('state.json', damaged)).toThrow(message)
  })
})

test('pages go on behind what was told last, also when it is gone', () => {
  const id = (digit: number): string => `0000000${digit}-0000-0000-0000-000000000000`
  const records = [3, 1, 2].map((digit) => ({ id: id(digit) }))
  const told = ({ id: each }: { id: string }): string => each
  const first = pageOf(records, { maxEntries: 2, startingToken: '' }, told)
  expect(first).toEqual({ entries: [id(1), id(2)], nextToken: id(2) })
  const rest = pageOf([{ id: id(3) }], { maxEntries: 2, startingToken: first.nextToken }, told)
  expect(rest).toEqual({ entries: [id(3)], nextToken: '' })
})

describe('flags', () => {
  test('have the names of the sample driver', () => {
    const sizes = ['--capacity', 'fast=10Gi', '--capacity', 'slow=512', '--max-volume-size', '1Ti']
    const rest = [
      '--drivername',
      'd',
      '--nodeid',
      'n',
      '--maxvolumespernode',
      '5',
      '--attach-limit',
      '2',
      '--enable-attach',
    ]
    expect(readFlags([...sizes, ...rest, '--no-enable-topology', '--endpoint', 'unix:///e'])).toEqual({
      isHelp: false,
      serving: { rootDir: '/var/lib/kubelet', register: true, endpoint: 'unix:///e' },
      options: {
        name: 'd',
        stateDir: '/var/lib/kubelet/plugins/d/data',
        nodeId: 'n',
        maxVolumesPerNode: 5,
        capacity: { fast: 10 * 2 ** 30, slow: 512 },
        maxVolumeSize: 2 ** 40,
        enableAttach: true,
        attachLimit: 2,
        enableTopology: false,
      },
    })
  })

  test.each([
    [['--capacity', '10Gi'], '--capacity 10Gi: must be KIND=SIZE'],
    [['--max-volume-size', '1TB'], '--max-volume-size 1TB: bytes, or a number with Ki, Mi, Gi or Ti'],
    [['--attach-limit', 'x'], '--attach-limit x: must be a whole number from 0 on'],
    [['--nothing'], "Unknown option '--nothing'"],
  ])('%s is refused', (args, message) => {
    expect(() => readFlags(args)).toThrow(message)
  })

  test('numbers of the options are checked', () => {
    expect(() => settingsOf({ capacity: { fast: -1 } })).toThrow('capacity.fast -1: must be a whole number from 0 on')
  })
})
