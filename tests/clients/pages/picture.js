// A plain <img> that shows the newest picture of a topic. The page looks at the pixel in its middle and tells each new
// colour. When the test changes /cue, the picture is asked for anew.

const url = new URLSearchParams(location.search).get("url");
const image = document.createElement("img");
image.crossOrigin = "anonymous";
document.body.append(image);

const canvas = document.createElement("canvas");
canvas.width = canvas.height = 1;
const context = canvas.getContext("2d", { willReadFrequently: true });

async function middle() {
  const { naturalWidth: width, naturalHeight: height } = image;
  // Firefox (ESR 153) keeps what a canvas drew from an <img>, though it shows another part by now; not so a bitmap.
  const pixel = await createImageBitmap(image, width / 2, height / 2, 1, 1);
  context.drawImage(pixel, 0, 0);
  return [...context.getImageData(0, 0, 1, 1).data.slice(0, 3)];
}

let shown = "";
let cue = "";
for (;;) {
  const asked = await (await fetch("/cue")).text();
  if (asked !== cue) {
    cue = asked;
    image.removeAttribute("src");
    image.src = url;
  } else if (image.naturalWidth > 0) {
    const colour = await middle();
    if (String(colour) !== shown) {
      shown = String(colour);
      report(colour);
    }
  }
  await new Promise((resolve) => setTimeout(resolve, 50));
}
