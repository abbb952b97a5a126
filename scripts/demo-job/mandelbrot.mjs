// The demo's job, run inside the sandbox: renders the Mandelbrot set into /out as a picture and a table.
// Usage: mandelbrot.mjs [width] [height] [iterations] [folder]. No dependencies.
import { mkdirSync, writeFileSync } from "node:fs";
import { crc32, deflateSync } from "node:zlib";

const [width = 640, height = 480, iterations = 1000] = process.argv.slice(2, 5).map(Number);
const folder = process.argv[5] ?? "/out";
if (![width, height, iterations].every((value) => Number.isInteger(value) && value > 0)) {
  console.error("width, height and iterations must be whole numbers above zero");
  process.exit(2);
}
const PROGRESS_STEPS = 10;
const SPAN = 3; // width of the picture in the complex plane
const CENTRE = { re: -0.65, im: 0 };

const rows = []; // per row: how many of its points belong to the set, and the mean escape time of the others
const pixels = Buffer.alloc((width * 3 + 1) * height); // every row begins with a filter byte of zero
console.log(`mandelbrot ${width}x${height}, ${iterations} iterations`);

for (let y = 0; y < height; y += 1) {
  let inside = 0;
  let escapeSum = 0;
  for (let x = 0; x < width; x += 1) {
    const steps = escapeTime(
      CENTRE.re + (x / width - 0.5) * SPAN,
      CENTRE.im + ((y / height - 0.5) * SPAN * height) / width,
    );
    if (steps === iterations) inside += 1;
    else escapeSum += steps;
    pixels.set(colour(steps), y * (width * 3 + 1) + 1 + x * 3);
  }
  const outside = width - inside;
  rows.push([y, inside, outside === 0 ? "" : (escapeSum / outside).toFixed(3)]);
  if (Math.floor(((y + 1) * PROGRESS_STEPS) / height) > Math.floor((y * PROGRESS_STEPS) / height)) {
    console.log(`progress ${Math.floor(((y + 1) * 100) / height)}%`);
  }
}

mkdirSync(folder, { recursive: true });
writeFileSync(`${folder}/mandelbrot.png`, png(width, height, pixels));
writeFileSync(
  `${folder}/rows.csv`,
  ["row,inside,mean_escape", ...rows.map((row) => row.join(","))].join("\n").concat("\n"),
);
const insideAll = rows.reduce((sum, [, inside]) => sum + inside, 0);
const area = (insideAll / (width * height)) * SPAN * ((SPAN * height) / width);
console.log(`area of the set: ${area.toFixed(4)}`);

/** Steps until the orbit of c leaves the disc of radius 2, at most `iterations`. */
function escapeTime(cRe, cIm) {
  let re = 0;
  let im = 0;
  let reSquared = 0;
  let imSquared = 0;
  let steps = 0;
  while (steps < iterations && reSquared + imSquared <= 4) {
    im = 2 * re * im + cIm;
    re = reSquared - imSquared + cRe;
    reSquared = re * re;
    imSquared = im * im;
    steps += 1;
  }
  return steps;
}

/** Black inside; outside, a smooth walk from deep blue to amber. */
function colour(steps) {
  if (steps === iterations) return [0, 0, 0];
  const t = Math.sqrt(Math.min(1, steps / 64));
  return [Math.round(20 + 235 * t), Math.round(24 + 166 * t * t), Math.round(84 + 90 * Math.sin(Math.PI * t))];
}

/** An 8-bit RGB picture in the PNG format. */
function png(pictureWidth, pictureHeight, scanlines) {
  const header = Buffer.alloc(13);
  header.writeUInt32BE(pictureWidth, 0);
  header.writeUInt32BE(pictureHeight, 4);
  header.set([8, 2, 0, 0, 0], 8);
  const signature = Buffer.from([0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a]);
  return Buffer.concat([
    signature,
    chunk("IHDR", header),
    chunk("IDAT", deflateSync(scanlines)),
    chunk("IEND", Buffer.alloc(0)),
  ]);
}

function chunk(type, data) {
  const body = Buffer.concat([Buffer.from(type, "latin1"), data]);
  const length = Buffer.alloc(4);
  length.writeUInt32BE(data.length);
  const sum = Buffer.alloc(4);
  sum.writeUInt32BE(crc32(body));
  return Buffer.concat([length, body, sum]);
}
